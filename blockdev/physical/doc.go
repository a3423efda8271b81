// Package physical takes block devices that are there already, to be written as
// disks. It refuses one that somebody uses or that holds something, unless the
// caller names it as one to wipe:
//
//	no block device, or one that may not be written
//	mounted, swapped to, under device-mapper, md or another loop device; so any
//	    partition of it; or claimed by whoever else (O_EXCL)
//	carrying a partition table, a file system or a volume's label (Signatures)
//
// Only the last can be wiped. Claim checks all of it once more, holds the device
// alone, keeps udev away from it (a lock, as systemd's "Locking Block Device
// Access" has it), and takes the old marks away, so that what is cut short is
// recognised as nothing.
//
// Facts come from the kernel: /proc/self/mountinfo, /proc/swaps, sysfs
// (Documentation/ABI/testing/sysfs-block) and ioctls of linux/fs.h. The package
// makes no device and writes no format.
package physical
