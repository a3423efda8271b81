// Package rootfs builds a tree out of steps: it plans them, keys them, resumes
// from the newest reusable layer, runs the rest, and seals what was made.
//
// A step is one hook, or one deed of the driver's own. Its layer is a writable
// layer on its parent's: mounted, run in, unmounted. The key of a step is the
// hash of its parent's key, the hook, and everything the hook can see; two
// builds that agree on a key share the layer.
//
// The package declares what it needs of a store (Store, Claim, Container) and
// leaves layers, images and locks to the implementation in package oci. It does
// not know block devices or output formats, and talks to people only through
// the writers and the logger it is given.
package rootfs
