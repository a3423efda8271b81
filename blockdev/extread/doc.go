// Package extread reads ext2, ext3 and ext4 file systems from a file or a part of
// one, without a kernel driver, a mount or rights: superblock, inodes, maps of
// blocks and extents, folders, extended attributes, and what a given block belongs
// to. It writes nothing and repairs nothing.
//
// Source of the format: the kernel's Documentation/filesystems/ext4. It shares no
// code with package ext4, which writes such file systems, so that it can be held
// against it.
//
// Nothing in a file system is trusted. Every number of a block, inode or offset is
// held against the size of the file system before it is used; a map names no block
// of its own tree twice and no more blocks than there are; what is wrong becomes
// an *Error that says where. So memory is bounded by the file system's size, and
// for usual ones it is one folder and one map at a time. Who walks a tree has to
// see that no folder comes twice.
//
// What is left out: replaying the journal (Dirty says that there is something to
// replay), checking checksums, the key for encrypted names and contents (they are
// given as they lie there), and the features compression, journal_dev and dirdata.
package extread
