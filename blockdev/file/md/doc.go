// Package md writes Linux software RAID into files: superblocks, write-intent
// bitmaps, and the members' contents with mirrors and parity, without the
// kernel's md driver and without mdadm. Equal input gives equal bits.
//
// An [Array] is data: Size, MemberSize and Check compute, WriteSuperblocks makes
// the members an array, Open gives its contents as one [Volume]. The caller owns
// the members (whole files, or windows in a disk image) and derives the ids.
//
// Where everything lies is what mdadm --create of version 4.2 chooses for members
// of that size: data offset with room for a later reshape, bitmap, room for a bad
// block list. Layout of the contents, with n members and a chunk of c bytes:
//
//	raid0   chunk i on member i mod n, there at i/n
//	raid1   the same on every member
//	raid5   left-symmetric: row r has its parity on p = n-1 - r mod n, and its
//	        data chunks d = 0, 1, … on members (p+1+d) mod n
//	raid10  nK  the K copies of chunk i are the places i·K … i·K+K-1, counted
//	            over the members row by row
//	        fK  chunk i as in raid0 in the first 1/K of each member; copy k lies
//	            k/K of the member further and k members on
//	        oK  as raid0, but each row is followed at once by its copies, each
//	            one member on
//
// # Precondition
//
// The superblocks say that the array is in sync. That is true when all that has
// not been written through the Volume reads as zeros on every member: a hole in a
// fresh file does, for mirrors are then equal and the parity of zeros is zero. On
// members that read otherwise (inside an encrypted volume, or used before) set
// Array.NeedsResync: the first assembly then brings mirrors and parity in line.
//
// # Sources
//
// Linux: include/uapi/linux/raid/md_p.h (struct mdp_superblock_1),
// drivers/md/md-bitmap.h (bitmap superblock, version 4), Documentation/
// admin-guide/md.rst, md(4); for the sizes mdadm(8) and the behaviour of mdadm
// 4.2; raid.wiki.kernel.org, "RAID superblock formats".
//
// # Left out
//
// Metadata 0.90, 1.1 and the external ones (DDF, IMSM); raid4, raid6, linear,
// multipath, other raid5 layouts and mixed raid10 layouts (n2f2); spares and
// missing members; reshape, journals, PPL, clustered bitmaps; raid0 of unequal
// members in several zones (the larger ones are used only as far as the smallest
// goes). The bad block list has its room, as mdadm leaves it, and no entries.
package md
