# Puts a systemctl that hangs in the place of the real one: always, or where its words match the pattern $1.
mv /usr/bin/systemctl /usr/bin/systemctl.real
printf '#!/bin/sh\ncase " $* " in %s) exec sleep 1000;; esac\nexec systemctl.real "$@"\n' "$1" >/usr/bin/systemctl
chmod 755 /usr/bin/systemctl
