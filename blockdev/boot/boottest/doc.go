// Package boottest boots disk images in QEMU for the tests of other packages.
//
// [Start] gives a virtual machine with a serial console and a network of its
// own, through which ssh is reached; [CheckDebian] is what an owner of a fresh
// Debian image looks at and does first. The guest runs under software emulation
// unless [Options].Accel says otherwise, so a boot takes about a minute on two
// cores; limits of time are generous on purpose.
//
// The image under test is never written, unless Options.Writable says so: the
// guest gets a throw-away overlay. QEMU ends with [VM.Close], with the context,
// or with the process that started it, whichever is first.
//
// It makes no images and knows nothing of lithify's own types.
package boottest
