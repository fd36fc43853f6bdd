# Makes the certificate that haproxy shows, in the machine.
mkdir -p /etc/haproxy/ssl
cd /etc/haproxy/ssl
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=meet.example.com \
    -addext subjectAltName=DNS:meet.example.com,DNS:turn.example.com -keyout key -out made
cat made key >meet.pem
rm made key
