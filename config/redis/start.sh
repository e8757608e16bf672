#!/bin/sh
# Starts Redis with a password that stands in no list of processes; with `ping` it asks the one that runs.
#   REDIS_PASSWORD_FILE   where the password is: letters, digits and . _ ~ + / = - only
#   REDIS_BIND            where it listens (default: loopback)
#   REDIS_DATA            where it keeps what it has (default: /var/lib/redis)
set -eu
umask 077
password=$(cat "${REDIS_PASSWORD_FILE:?names no file with a password: without one anybody on this host could ban anybody}")
case "$password" in
"" | *[!A-Za-z0-9._~+/=-]*)
    echo "start.sh: the password must have letters, digits and . _ ~ + / = - only, and one of them at least" >&2
    exit 64
    ;;
esac
if [ "${1:-}" = ping ]; then
    test "$(REDISCLI_AUTH=$password exec redis-cli ping)" = PONG
    exit
fi
conf=$(mktemp)
{
    echo "bind ${REDIS_BIND:-127.0.0.1 -::1}"
    echo "requirepass $password"
    echo "dir ${REDIS_DATA:-/var/lib/redis}"
    # What was told is on disk within a second; nothing is thrown out for want of room.
    echo "appendonly yes"
    echo "maxmemory-policy noeviction"
} > "$conf"
exec redis-server "$conf" "$@"
