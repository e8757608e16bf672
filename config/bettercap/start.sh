#!/bin/sh
# Starts Bettercap with sensor.cap. The login comes from the environment, so that it stands in no file of yours and in no
# list of processes; both must be letters, digits and . _ ~ + / = - only.
#   BETTERCAP_INTERFACE   which interface to hear on
#   BETTERCAP_USERNAME    who may listen (default: sentinel)
#   BETTERCAP_PASSWORD    with which password, or
#   BETTERCAP_PASSWORD_FILE  in which file it is
# More arguments go to Bettercap. It ends when its standard input does, so it is given one that does not end.
set -eu
umask 077
if [ -z "${BETTERCAP_PASSWORD:-}" ] && [ -n "${BETTERCAP_PASSWORD_FILE:-}" ]; then
    BETTERCAP_PASSWORD=$(cat "$BETTERCAP_PASSWORD_FILE")
fi
here=$(dirname "$(readlink -f "$0")")
: "${BETTERCAP_INTERFACE:?names no interface, such as eth0}"
: "${BETTERCAP_PASSWORD:?is empty: without a password anybody on this host could command Bettercap}"
name=${BETTERCAP_USERNAME:-sentinel}
case "$name$BETTERCAP_PASSWORD" in
*[!A-Za-z0-9._~+/=-]*)
    echo "start.sh: name and password may have letters, digits and . _ ~ + / = - only" >&2
    exit 64
    ;;
esac
folder=$(mktemp -d)
{
    printf 'set api.rest.username %s\n' "$name"
    printf 'set api.rest.password %s\n' "$BETTERCAP_PASSWORD"
    cat "$here/sensor.cap"
} > "$folder/sensor.cap"
unset BETTERCAP_PASSWORD
mkfifo "$folder/stdin"
exec 3<> "$folder/stdin"
# Bettercap has read its caplet a moment after it began.
(sleep 5; rm -rf "$folder") &
exec bettercap -iface "$BETTERCAP_INTERFACE" -no-colors -silent -caplet "$folder/sensor.cap" "$@" <&3
