// Package luks writes LUKS2 and LUKS1 volumes into files, and what is to lie in
// them, without the kernel's device-mapper, cryptsetup or rights. It opens them
// too, whoever made them, for tests and comparisons.
//
// Sources: LUKS2 On-Disk Format Specification 1.1.1 and LUKS1 On-Disk Format
// Specification 1.2.3 (both by the cryptsetup project); cryptsetup(8),
// cryptsetup-luksFormat(8) and cryptsetup-open(8) for defaults and limits; IEEE
// 1619 for XTS, the kernel's Documentation/admin-guide/device-mapper/dm-crypt.rst
// for plain64 and how large sectors are numbered; FIPS 197 for AES; RFC 9106 for
// Argon2, RFC 8018 for PBKDF2, RFC 5869 for HKDF.
//
// A volume is made so:
//
//	volume key, salts, noise ← the kernel's random numbers, or a seed
//	clear the place of the headers, where it is not zero
//	for each passphrase: slot key ← derive(passphrase, salt, costs)
//	    slot ← AES-XTS(slot key, noise … key ⊕ what the noise hashes to)
//	second header, first header: metadata, digest of the volume key, checksum
//	payload sector n ← AES-XTS(volume key, n), when it is written
//
// The layout is that of cryptsetup: LUKS2 with two headers of 16 KiB (more where
// many slots need it) and the payload at 16 MiB, LUKS1 with eight slots and the
// payload at 2 MiB.
//
// # Costs of a passphrase
//
// They are fixed. cryptsetup measures the machine that formats and takes two
// seconds and up to 1 GiB of it; an image is opened elsewhere, often in the initrd
// of a machine with one core and 512 MB, where argon2 with more memory than there
// is fails. The defaults are Argon2id with 64 MiB and 4 lanes, which RFC 9106
// gives to machines short of memory, and 8 passes, twice the least that
// cryptsetup takes and nearly three times the RFC's, to pay for the smaller
// memory: half a second of one core. PBKDF2 takes what OWASP asked for in 2023,
// 600,000 iterations of SHA-256. GRUB up to 2.12 knows PBKDF2 only, and has
// neither threads nor SHA instructions: it waits several seconds for those.
// A slot is no stronger than its passphrase; luksChangeKey sets other costs later.
//
// # Seeds
//
// With Options.Seed a volume repeats to the bit, which is why whoever knows the
// seed can read it, and why two volumes of one seed and UUID that hold different
// things show in which sectors they differ. The seed is stretched by Argon2id, as
// salts that come from it would let guesses be tried at once. Every salt, the key
// and each slot's noise have a key stream of their own.
//
// # Secrets
//
// No error, verb of fmt or encoder shows a passphrase, key or seed; what is made
// from them here is overwritten after use. Copies within crypto/hmac, crypto/aes
// (processors without AES instructions) and golang.org/x/crypto/argon2 are out of
// reach. Passphrases and seeds given stay the caller's.
//
// # Holes
//
// What was never written reads as noise: a writer must write the zeros that it
// wants read. The holes of a file then show which sectors were never used, as a
// volume opened with --allow-discards does.
//
// # Speed
//
// github.com/containers/luksy is not used. It has no offsets and goes one sector
// after the other; its second header has a wrong checksum (the padding is not in
// it); the last 61 of the 4000 stripes get no noise for all of the key; it takes
// what the building machine can do as cost, with 16 threads; it knows no seed,
// label or UUID, and writes to standard error. golang.org/x/crypto/xts goes
// block by block. Here eight blocks go through the processor's AES instructions
// side by side (xts_amd64.s); elsewhere crypto/aes is called block by block.
// Writes of more than 64 KiB are spread over all processors.
//
// Processor seconds for 1 GB in sectors of 4096 bytes, AES-256, on a shared EPYC
// core (go test -bench . under time): 0.20 here (sectors of 512 bytes 0.26),
// 1.9 without the instructions, 4.0 by golang.org/x/crypto/xts, 15 by luksy. Into
// a file in a tmpfs, written over and over: 0.27 plain, 0.53 through a volume, on
// two cores. A tree of 684 MB written by package ext4: 0.48 plain, 0.70 to 0.80
// through a volume; wall time 0.7 to 0.9 and 1.0 to 1.7 s on a busy machine.
//
// # What is left out
//
// Ciphers other than aes-xts-plain64, detached headers, integrity and
// authenticated encryption, tokens (FIDO2, TPM, keyrings), keyslots bound to no
// segment, reencryption, OPAL, changing slots after Format, the hashes ripemd160
// and whirlpool. Volumes that use any of it are not opened, with an error.
package luks
