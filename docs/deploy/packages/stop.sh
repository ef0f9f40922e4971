#!/bin/sh
# The package goes. When a newer one comes in its place (dpkg: upgrade, rpm: 1)
# the services go on as they are.
set -e
case ${1:-remove} in
upgrade | 1) ;;
*) if [ -d /run/systemd/system ]; then systemctl --no-reload disable --now kagami-listen.service kagami-replay.service; fi ;;
esac
