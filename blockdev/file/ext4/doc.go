// Package ext4 writes ext2, ext3 and ext4 file systems into a file or device and
// fills them from a folder, without a kernel driver, a mount, a host tool or
// rights. Numbers and places of a file system are those that mke2fs gives for the
// same options, as dumpe2fs shows them; only the journal lies elsewhere.
//
// Sources: the kernel's Documentation/filesystems/ext4; for what it leaves open
// the behaviour of Linux' ext4 driver, of e2fsck and of mke2fs 1.47.
//
// A tree is written in one pass and nothing is written twice:
//
//	place the tables of all groups; journal, resize inode, orphan file
//	walk the tree, names sorted: a folder's entries, then what is in its folders
//	    readers, some entries ahead: stat, attributes, content of short files
//	    writer, in order: number the inode, take the next free blocks, write;
//	        where the target is a file, long files are copied by the kernel
//	    when a folder's entries all have numbers: write its blocks, forget it
//	write inodes of hard links and shared attribute blocks, now counted
//	write bitmaps, copies of descriptors and superblock, the superblock last
//
// Blocks are given away from the front, so that a file is in one piece where no
// table lies between, and the last block can be used. What is kept in memory is
// the entries of one folder, the bitmaps of groups in use, the files of which
// further names may come, and a few buffers.
//
// Equal trees and Options with a Time and ids give equal bytes, whatever the
// number of readers and whatever the tree lies on: a file with a hole has one in
// the image wherever a block is zero, another has none (package sparse, which says
// what of the tree's own file system still shows). Without Time its times of access
// and change show, too.
//
// Folders of more than one block have a half-MD4 index, their leaves filled to
// seven eighths. Extended attributes lie in the inode when all of a file's fit,
// else in a block, which up to 1024 files with equal ones share.
//
// What is left out: ea_inode (so a file's attributes have a block and the rest of
// the inode: about 4 KiB), inline_data, encrypt, verity, casefold, quota, project,
// bigalloc, mmp, large_dir (a folder too large for two levels of index gets none),
// sparse_super2, external journals, fast_commit, stable_inodes, bad blocks, RAID
// strides, block sizes over 4 KiB, and attributes whose names ext4 has no number
// for, such as btrfs.compression, which are dropped silently as cp -a does.
// Features that are not written are an error, as are files of more than 65,000
// names, names of more than 255 bytes and links to paths as long as a block.
//
// Seconds of processor (LITHIFY_EXT4_TREE=DIR go test -run XXX -bench Tree
// -benchtime 2x): 52,000 files of 12 KB in 4,000 folders 1.4 here, 2.7 by mke2fs
// -d, 4.9 by a loop device and cp -a; the same files in 20 folders 1.1, 9.7, 4.0.
// A file of 1.5 GB, written and removed again: within a tmpfs 0.87, 0.83 by cp; from
// an overlay to a disk 0.71, 0.64 by cp. A million files in a hundred folders
// take 13 s and 20 MB, a million names in one folder 220 MB.
package ext4
