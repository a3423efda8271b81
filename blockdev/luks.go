package blockdev

import (
	"fmt"
	"strings"
)

// Encrypted is a LUKS volume: what is written to it lies encrypted on its base.
// The secrets are not here, only where they come from.
type Encrypted struct {
	vertex
	Version    int // 2 or 1
	Label      string
	Cipher     string // "": aes-xts-plain64
	KeySize    int    // bits; 0: 512
	PBKDF      string // argon2id, argon2i or pbkdf2
	Iterations int    // of PBKDF; 0: the usual
	SectorSize int    // 0: the usual
	UUID       string // given, or set by Identify
	Secret     Secret // opens the volume
	Seed       Secret // what its keys are derived from; none: chance

	ownUUID string // the configuration's
}

// Secret says where a secret is: at most one of these is set.
type Secret struct {
	File string // its whole content
	Env  string // the value of a variable
	FD   int    // what can be read from an open file; 0: not set
}

// Given says whether there is one at all.
func (s Secret) Given() bool { return s != Secret{} }

func luksKind() nodeKind {
	return nodeKind{name: "luks", level: 1, decode: decodeLUKS}
}

func decodeLUKS(e entry) ([]Node, error) {
	f := fields{e: e}
	n := &Encrypted{
		vertex:     e.vertex(),
		Version:    2,
		Label:      f.text("label"),
		Cipher:     f.text("cipher"),
		KeySize:    f.integer("key_size", 0),
		PBKDF:      f.text("pbkdf"),
		Iterations: f.integer("iterations", 0),
		SectorSize: f.integer("sector_size", 0),
		ownUUID:    strings.ToLower(f.text("uuid")),
		Secret:     f.secret("key"),
		Seed:       f.secret("seed"),
	}
	if f.text("type") == "luks1" {
		n.Version = 1
	} else if n.Label == "" {
		n.Label = n.name // by which crypttab finds it
	}
	if !n.Secret.Given() {
		f.fail(e.at.errorf("a key is missing: key_file, key_env or key_fd says where the passphrase is; it never stands here"))
	}
	if n.Version == 1 && (n.Label != "" || n.SectorSize != 0 || n.PBKDF != "" && n.PBKDF != "pbkdf2") {
		f.fail(e.at.errorf("luks1 has no label, sectors of 512 bytes, and pbkdf2; leave them out, or take luks2"))
	}
	return []Node{n}, f.err
}

// secret reads the three keys that say where a secret is.
func (f *fields) secret(name string) Secret {
	s := Secret{File: f.text(name + "_file"), Env: f.text(name + "_env"), FD: f.integer(name+"_fd", 0)}
	given := 0
	for _, one := range []bool{s.File != "", s.Env != "", s.FD != 0} {
		if one {
			given++
		}
	}
	if given > 1 {
		f.fail(f.e.at.errorf("%s_file, %s_env and %s_fd are given together; one is wanted", name, name, name))
	}
	return s
}

// checkMappedName: it becomes a field of crypttab and a name of the device mapper.
func checkMappedName(s string) error {
	if len(s) > 127 || strings.ContainsAny(s, "/# \t\n\\\x00") || s == "." || s == ".." || s == "control" {
		return fmt.Errorf("name %q: at most 127 bytes without blanks, slashes, # and backslashes", s)
	}
	return nil
}
