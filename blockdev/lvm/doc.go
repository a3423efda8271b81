// Package lvm writes an LVM2 volume group into files or devices: the label and
// metadata of every physical volume, and the bytes of logical volumes at the
// places the metadata names. It needs no kernel driver, no device-mapper, no
// host tool and no rights, and writes equal bits for an equal Group.
//
// What is on a physical volume (sectors are of 512 bytes, numbers little-endian):
//
//	sector 1      label "LABELONE", type "LVM2 001", CRC; the physical volume's
//	              id and size, where its extents and its metadata area are, and
//	              the extension (version 2, "in use", no boot loader area)
//	byte 4096     metadata area: a header of one sector with the place and the
//	              CRC of the current text, then the text, the same on each one
//	pe_start      the extents: 1 MiB or the next multiple of DataAlignment
//
// The text is sequence 1 of the group; the rest of the metadata area is left to
// LVM, which writes each change behind the last, round and round.
//
// Extents are given out as lvcreate does with the policy "normal" in an empty
// group, so that one finds the layout that LVM would have made:
//
//	for each logical volume, in order; n: what each of its stripes still needs
//	    take the first physical volumes with n extents left, one per stripe
//	    are there too few: take those with the most left (more than n is n;
//	        among equals the first), all they have in common, as one segment,
//	        and go on with what remains
//
// Sources: lvm(8) and pvck(8) for names, tags and what lies where; "Logical
// Volume Manager Administration" of Red Hat Enterprise Linux 6, chapters 5.3.2
// (allocation) and D (label, metadata); libvslvm's "Logical Volume Manager (LVM)
// format" for the headers and the weak CRC-32 that starts at 0xf597a6cf. What
// these leave open is as LVM 2.03.16 writes it, to whose tools the tests show
// every layout.
//
// Left out: thin pools, RAID, mirrors, caches, VDO, snapshots and historical
// volumes; clusters, lvmlockd and system ids; second metadata areas, physical
// volumes without one, boot loader areas; devices files. Nothing is read back
// or changed: that is LVM's own work, on the running system.
package lvm
