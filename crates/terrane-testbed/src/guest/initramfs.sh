#!/bin/busybox sh
# The guest's first program, from the boot partition: makes the disk visible and goes on from its root file system.
b=/bin/busybox
$b mount -t devtmpfs none /dev
$b mount -t proc none /proc
for module in $($b cat /modules/order); do $b insmod "/modules/$module"; done
$b mount -t ext4 -o ro /dev/vda2 /root
exec $b switch_root /root /sbin/init
