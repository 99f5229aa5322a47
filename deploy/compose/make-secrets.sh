#!/bin/sh
# Writes deploy/compose/secrets: an authority, a certificate for the host `redis`, and users with passwords.
# Needs openssl. What is there already stays; remove a file to have it made anew.
#   sh make-secrets.sh [FOLDER] [more names of the Redis host ...]
set -eu
folder=${1:-$(dirname "$0")/secrets}
[ $# -eq 0 ] || shift
names="DNS:redis,DNS:localhost"
for name; do names="$names,DNS:$name"; done

# Containers run as other users, so the files are readable; nobody else gets through the folder.
umask 022
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

password() { [ -s "$1" ] || openssl rand -hex 32 >"$1"; }

if [ ! -s redis-ca.crt ]; then
  openssl req -x509 -newkey rsa:3072 -nodes -sha256 -days 3650 -subj "/CN=caskeeper redis authority" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -keyout redis-ca.key -out redis-ca.crt 2>/dev/null
  chmod 600 redis-ca.key
  rm -f redis.crt
fi
if [ ! -s redis.crt ]; then
  openssl req -newkey rsa:3072 -nodes -sha256 -subj "/CN=redis" -keyout redis.key -out redis.csr 2>/dev/null
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$names" >redis.ext
  openssl x509 -req -in redis.csr -CA redis-ca.crt -CAkey redis-ca.key -CAcreateserial -days 825 -sha256 \
    -extfile redis.ext -out redis.crt 2>/dev/null
  rm -f redis.csr redis.ext
fi
password redis-password
password redis-build-password
cat >redis-users.acl <<USERS
user default off
user fleet on >$(cat redis-password) ~* &* +@all -@admin -@dangerous +info +keys
user build on >$(cat redis-build-password) ~* &* +@read +@write +@connection +@transaction +@pubsub +@scripting -@dangerous +info +time
USERS
chmod 644 redis.key redis-users.acl redis-password redis-build-password
echo "secrets are in $PWD"
