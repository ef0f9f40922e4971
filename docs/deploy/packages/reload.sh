#!/bin/sh
# Units have come or gone. Nothing is started: a listener has to be told first
# what to capture.
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
