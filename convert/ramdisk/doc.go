// Package ramdisk makes an initial ramdisk of a root file system: it finds out
// which files of the tree programs, kernel modules and elements need, and writes
// them as the archive that a kernel unpacks.
//
//	programs  the file, links on its way, what a script's "#!" names, and the
//	          libraries that the target's loader would map: read from the ELF
//	          headers (PT_INTERP, DT_NEEDED, RUNPATH, RPATH), never by running
//	          anything of the target
//	modules   by modules.dep, modules.softdep, modules.alias and modules.builtin,
//	          with the firmware that they name
//	archive   cpio of the format newc (Documentation/driver-api/early-userspace/
//	          buffer-format.rst of Linux); order, inode numbers, times and links
//	          follow from what is in it alone, so equal trees give equal bytes
//
// In the ramdisk /bin, /sbin and /usr/sbin are /usr/bin, /lib is /usr/lib and so on,
// however the tree has it: a program is found by any of its usual paths.
//
// It does not compress (package convert does), knows no elements and runs nothing.
// Extended attributes are lost: the format has none.
//
// The format is 110 bytes in front of each file, and all that makes archives equal
// is the choice of those bytes, so it is written here. Of u-root's pkg/cpio only the
// formatting of the header would have served: its records carry the inode numbers of
// the host and the links as found there, and it brings a dozen packages.
package ramdisk
