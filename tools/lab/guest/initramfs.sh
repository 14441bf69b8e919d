#!/bin/sh
# The whole initial file system: load the disk's drivers in order, mount the disk, hand over. Debian's own takes
# ten times as long under emulation.
mount -t devtmpfs none /dev
mount -t proc none /proc
while read -r module; do insmod "/modules/$module" || echo "lab: $module did not load"; done < /modules/order
waited=0
while [ ! -b /dev/vda ]; do
    waited=$((waited + 1))
    [ "$waited" -lt 300 ] || { echo "lab: no disk /dev/vda after 30 s"; poweroff -f; }
    sleep 0.1
done
mount -t ext4 -o rw /dev/vda /root || { echo "lab: /dev/vda does not mount"; poweroff -f; }
umount /proc
mount --move /dev /root/dev
exec switch_root /root /sbin/init
