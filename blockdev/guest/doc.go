// Package guest is a small machine for tests: Debian's kernel in QEMU, busybox, and
// the host's programs, for what the kernel of the machine that tests lacks, such as
// device-mapper and md. It stands below every package that it tests.
package guest
