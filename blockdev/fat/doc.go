// Package fat writes FAT file systems (FAT12, FAT16, FAT32, with VFAT long
// names) into a file or device: EFI system partitions and other small volumes
// that firmware and boot loaders read. It needs no kernel driver, no mount, no
// host tool and no rights.
//
// Sources: Microsoft's "FAT: General Overview of On-Disk Format" 1.03
// (fatgen103), and for what it leaves open the behaviour of mkfs.fat 4.2,
// fsck.fat and Linux' fat and vfat drivers.
//
// A tree is written at once and never changed after, which makes it simple:
//
//	walk the tree: check names and kinds, give every entry its short name
//	lay out: FAT type, cluster size, FAT size from the size in bytes
//	give every folder and file, in walking order, one run of clusters
//	write folders and files, then the FATs, then FSInfo, boot sector last
//
// Every chain is one run, so the FATs follow from the lengths of the runs.
//
// What FAT has no place for: owners, modes, extended attributes and ACLs are
// dropped silently; a hard link becomes a copy; holes in files become zeros
// (which stay holes in a sparse target). Symbolic links, devices, fifos,
// sockets, names that differ only in case, names with forbidden characters and
// files over 4 GiB - 1 are errors that name the path.
//
// Times are written in UTC with FAT's resolution: two seconds for the time of
// modification, from 1980 to 2107.
//
// Image reads file systems, whoever made them, for those who compare. The package
// does not check or resize any, and makes no bootable boot sector: its code hands
// over to the next boot device.
package fat
