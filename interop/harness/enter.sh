#!/bin/sh
# enter.sh DIRECTORY COMMAND...: lays this namespace's resolver, hosts and trust store over the machine's own.
# `ip netns exec` has made the mount namespace private already, so nothing outside sees these mounts.
set -eu
mount --bind "$1/resolv.conf" /etc/resolv.conf
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/certs" /etc/ssl/certs
shift
exec "$@"
