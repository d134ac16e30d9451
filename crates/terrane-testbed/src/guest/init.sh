#!/bin/busybox sh
# The guest's system: tells that it lives, changes its own disk, and ends.
b=/bin/busybox
$b mount -t devtmpfs none /dev
$b mount -t proc none /proc
exec >/dev/ttyS0 2>&1
$b cat /etc/marker
$b mount -o remount,rw /
$b seq 100000 > /written
$b sync
$b mount -o remount,ro / && $b echo "guest has written"
$b poweroff -f
