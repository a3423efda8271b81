// Package convert writes a finished disk or a mounted tree as the file formats
// that people ask for: raw, qcow2 and tar. Each format has one file here; the
// writers are native Go, stream, and use all cores with bounded memory.
//
// It reads a disk through Source and a tree through a path, writes to what it is
// given, and neither names, renames, syncs nor removes output files: an error,
// a cancelled context included, means that the caller removes what was written.
// It starts no program and prints nothing.
package convert
