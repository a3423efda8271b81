// Package blockdevtest is the conformance suite that every back end of blockdev
// passes: equal layouts and a nasty tree go in, and foreign tools and the kernel
// judge the image that comes out. CompareTrees, its comparer, serves other tests
// that ask whether two trees are the same.
//
// The package is for tests alone. What it mounts it unmounts when the test ends.
package blockdevtest
