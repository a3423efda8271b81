// Package convert writes a finished disk or a mounted tree as the file formats
// that people ask for: raw, qcow2, vhd, vhdx, vdi, vmdk, tar, tgz, squashfs.
// Lookup finds a Format by name, Disk and Tree write it. Each format has one
// file here (with its parts beside it); the writers are native Go, stream, and
// use all cores with bounded memory. squashfs is mksquashfs'.
//
// It reads a disk through Source and a tree through a path, writes to what it is
// given, and neither names, renames, syncs nor removes output files: an error,
// a cancelled context included, means that the caller removes what was written.
// But for squashfs it starts no program. It prints nothing.
//
// The encoders for clusters, zstd (RFC 8878) and deflate (RFC 1951), are our
// own. General ones lose on pieces of 64 KiB that are compressed one by one:
// github.com/klauspost/compress/zstd took 1.7 times the processor time for
// 2 % less, its deflate with a window of 4 KiB gave 6 % more than zlib. Huffman
// coding of zstd's literals is that module's huff0.
//
// Beside qemu-img 7.2.22 on 2 cores of an AMD EPYC, an ext4 disk of 1750 MiB with
// 935 MiB of data, ratios of ours to qemu-img's (the whole table, how it was made
// and what it is worth are in docs/formats.md):
//
//	LITHIFY_BENCH_DISK=disk.raw go test ./convert -run '^$' -bench Qcow2 -benchtime 3x
//
//	                         against                     wall  processor  size
//	zstd                     -c -m 16 -W, zstd           0.67  0.94       1.023
//	zstd, cluster_size=2M    -c -m 16 -W, zstd, 2M       1.18  1.04       1.025
//	zlib                     -c -m 16 -W                 0.51  0.53       1.023
//	zlib                     -c                          0.28  0.51       1.023
//	zstd                     -c (zlib)                   0.11  0.20       1.006
//	uncompressed             no option                   1.16  1.06       1.000
package convert
