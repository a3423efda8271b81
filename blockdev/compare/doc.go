// Package compare says where two images differ: container, partition table, file
// system, file, byte. It reads whatever the project writes (disks as raw, qcow2,
// vhd, vhdx, vdi, vmdk; archives of trees; docker archives; folders) and needs
// neither root nor a mount for ext2, ext3, ext4 and FAT.
//
// It lies under blockdev, not convert, as nearly all it knows is about tables and
// file systems; of formats it knows the first bytes, and asks qemu-img for the
// content of what is neither raw nor a fixed vhd.
//
//	equal bytes? done
//	unwrap both: decompress, or convert to a sparse file without a name
//	disks: compare all bytes at once, in parallel, holes left out: a list of spans
//	    tables, field by field; what lies outside of partitions
//	    each partition that a span touches: superblock, then the trees, folder by
//	    folder and names in order; a file that lies at the same blocks, none of
//	    them in a span, is not read
//	    all of that is equal: what the blocks in the spans belong to
//	archives, folders: the trees
//
// A file's content is looked into where that tells more: compressed files, cpio
// and tar archives (an initramfs), two levels deep.
//
// Nothing in an image is trusted; what is wrong in a file system becomes a note in
// the report, and its bytes are compared instead. Memory is bounded by the folders
// of one path, the spans (of which there are at most two million), and for archives
// the list of their members.
//
// What is left out: LVM, md and LUKS are compared byte by byte; xfs, btrfs and
// squashfs are read by the kernel, through Options.Mount; journals are not
// replayed; checksums of file systems are not checked.
package compare
