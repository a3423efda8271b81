// Package runner runs one command in a tree, and puts a whole build into
// namespaces of its own so that nothing is left behind however it dies. It is
// pure Go, needs no cgo and no helper program but newuidmap for ordinary users,
// and works as root and inside a user namespace. Linux 5.12 or later.
//
// It does not make layers or overlay mounts, does not know hooks, phases or
// distributions, never changes the tree it runs in (not even a time stamp), and
// sets no network up: a command has the caller's network.
//
// # Processes
//
// A Session is three processes: the first one, which only waits and hands
// signals on; a small init, PID 1 of the session, which reaps; and the build.
// Run starts two: an init that makes the mounts, is PID 1 of the command's own
// PID namespace and reaps, and the command. A Go program that also uses
// os/exec cannot be an init itself: its own waits and the reaping collide.
// Both inits are this program started again under another argv[0], hence Main.
//
// Who dies takes the rest along. An init dies with its parent twice over: by
// its parent-death signal, and because a socket to the parent ends (the signal
// alone has a gap between fork and prctl, is cleared by changes of id, and
// follows the thread that forked). When an init dies, the kernel kills its PID
// namespace, and with the last process go the mounts and the loop devices with
// AUTOCLEAR, all before the init can be waited for.
//
// # Other architectures
//
// Executes tries whether programs of an architecture run here; Emulate registers
// an emulator for them with the kernel, for the caller's user namespace alone.
// Run takes no notice: the kernel starts the emulator, going by the first
// bytes of the program, and a command of this machine's architecture runs as ever.
//
// # Cost
//
// Run of a busybox "true" takes 5 ms at best in a small program
// (BenchmarkRunTrue; two shared cores, November 2026), and 11 ms in one that
// links buildah: the init is the same program, so the initialisation of all its
// packages is paid on each Run. In processor time 8 and 16 ms. With both cores
// twice overbooked the mean is 13 and 25 ms.
package runner
