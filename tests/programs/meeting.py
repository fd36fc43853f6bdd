"""Be one end of a meeting: print its candidates, read the other end's, and connect.

One that sends does so all the time, until its input ends; the other echoes.
"""

from __future__ import annotations

import asyncio
import json
import sys

import aioice


async def line() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def main(sends: bool) -> None:
    ice = aioice.Connection(ice_controlling=sends)
    await ice.gather_candidates()
    own = [one.to_sdp() for one in ice.local_candidates]
    print(json.dumps([ice.local_username, ice.local_password, own]), flush=True)
    ice.remote_username, ice.remote_password, candidates = json.loads(await line())
    for one in candidates:
        await ice.add_remote_candidate(aioice.Candidate.from_sdp(one))
    await ice.add_remote_candidate(None)
    await ice.connect()
    print(json.dumps("connected"), flush=True)
    came, sent = set(), 0

    async def receive() -> None:
        while True:
            data = await ice.recv()
            if sends:
                came.add(data)
            else:
                await ice.send(data)

    receiving = asyncio.ensure_future(receive())
    over = asyncio.ensure_future(line())
    while not over.done():
        if sends:
            await ice.send(b"%d" % sent)
            sent += 1
        await asyncio.sleep(0.01)
    for _ in range(200):
        if len(came) < sent:
            await asyncio.sleep(0.01)
    receiving.cancel()
    print(json.dumps([sent, len(came)]), flush=True)
    await ice.close()


asyncio.run(main(sys.argv[1] == "sends"))
