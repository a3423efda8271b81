// Package boot makes a disk image start by BIOS and EFI although no block
// device exists while the image is built.
//
// Two halves meet here. Inside the target, [Run] stands in for GRUB's tools
// that ask the kernel about devices: grub-probe, grub-install, grub-mkrelpath.
// It answers them from the plan of the disk ([Layout]), so that the target's own
// grub-mkconfig writes a grub.cfg that knows the future disk and nothing of the
// build host. For EFI grub-install's stand-in fills the system partition's folder
// in the tree, and nothing is left to do. For BIOS, [Place] writes boot.img and
// core.img, which it left in the tree, to the finished raw image.
//
// GRUB's names of volumes (LVM, md, LUKS) follow from the planned ids, and its core
// image opens what is encrypted below /boot. What it does not do: other platforms.
// Each question it cannot answer is an error that names --backend loop ([ErrNoDevice]).
// It mounts nothing and never opens a device.
//
// Formats: the boot sector's fields are those of GRUB's i386/pc/boot.h; the
// partition tables are the PC's MBR and UEFI's GPT (specification 2.10, 5.3);
// file names on the system partition those of the same, 3.5.1, and of shim.
package boot
