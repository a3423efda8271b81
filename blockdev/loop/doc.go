// Package loop is the back end for root: it makes the disks of a plan with loop
// devices and kernel mounts.
//
// For each disk: a sparse file, the partition table written into it, one loop
// device over the whole and one over each partition by offset and size limit
// (the kernel need not read the table, and no device-mapper is asked for); every
// file system on them, btrfs with its subvolumes; then, parents first, mount and
// copy what the tree has there. Commit trims, unmounts and detaches; Close undoes
// everything.
//
// Not every kernel has vfat: a vfat is a folder, bound to its mount point, that
// package fat writes into the image, at once and again at Commit if it was
// changed. Swap is only written.
//
// Loop devices clear themselves when their last user goes, so a build that is
// killed in mount and PID namespaces of its own leaves none. Mounts are made
// below the work folder only, in a private subtree. Boot code is not placed
// here, and no file of the content is changed.
//
// Volumes (LVM, md, LUKS) are made by the host's programs and the kernel's drivers,
// in the order of the plan:
//
//	before anything  a journal, locked; a line in it before each deed (journal.go)
//	make             vgcreate, mdadm --create, cryptsetup luksFormat and open, under
//	                 names and ids that nobody else has; open the devices, which must
//	                 be as large as planned
//	Commit           tops first: let go of the volume, then write its headers with the
//	                 plan's names and ids to the devices below (packages lvm and md)
//	Close            tops first: remove mappings and arrays
//	the next one     Sweep: do that for journals whose lock nobody holds
//
// Final names and ids are never in the kernel. Two builds of one input would have the
// same, and so has the image of the build before, should somebody look into it: the
// device mapper takes neither a name nor an id twice, and udev starts what it knows.
//
// MountReadOnly stands beside all that: it shows a part of any image to those who
// compare.
package loop
