package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lithify/lithify/blockdev"
)

// secrets are the passphrases and seeds of encrypted volumes, by node. They are
// read before anything is built, so that a mistake shows at once, and live in this
// process only: not in the environment of hooks, nor in a key, plan, log or
// manifest.
type secrets map[string]struct{ passphrase, seed []byte }

// of gives copies, which the caller may wipe.
func (s secrets) of(node string) (passphrase, seed []byte, err error) {
	own, ok := s[node]
	if !ok {
		return nil, nil, fmt.Errorf("no passphrase for %q", node)
	}
	return bytes.Clone(own.passphrase), bytes.Clone(own.seed), nil
}

func (s secrets) wipe() {
	for _, own := range s {
		clear(own.passphrase)
		clear(own.seed)
	}
}

// read reads what encrypted volumes ask for and is not known yet.
func (s secrets) read(volumes []*blockdev.Encrypted, env map[string]string) error {
	fds := map[int][]byte{} // one may serve several volumes
	for _, n := range volumes {
		own, known := s[n.Name()]
		if known {
			continue
		}
		var err error
		if own.passphrase, err = readSecret(n.Secret, env, fds); err != nil {
			return usagef("the passphrase of %q: %w", n.Name(), err)
		}
		if n.Seed.Given() {
			if own.seed, err = readSecret(n.Seed, env, fds); err != nil {
				return usagef("the seed of %q: %w", n.Name(), err)
			}
		}
		s[n.Name()] = own
	}
	return nil
}

// readSecrets reads what the volumes of the graph ask for, where a disk is made.
func (j *job) readSecrets() error {
	if !j.needsDisk() {
		return nil
	}
	volumes := j.graph.Encrypted()
	if err := j.secrets.read(volumes, j.o.Environment); err != nil {
		return err
	}
	for _, n := range volumes {
		if j.o.Reproducible && !n.Seed.Given() {
			return usagef("--reproducible: the keys of %q come from chance, so its bytes never repeat; seed_file, seed_env or seed_fd names a secret to derive them from", n.Name())
		}
	}
	return nil
}

// hideSecrets takes the variables that hold secrets out of every environment that
// hooks could see, whether a disk is made or not: this image's, that of each one
// that it starts from, and this process's.
func (j *job) hideSecrets() error {
	for _, name := range j.secretVariables() {
		delete(j.o.Environment, name)
		for b := j.o.Base; b != nil; b = b.Base {
			delete(b.Environment, name)
		}
		for b := j.base; b != nil; b = b.base {
			delete(b.o.Environment, name)
		}
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	return nil
}

// secretVariables are those that the layouts of this image, and of each one that
// it starts from, name.
func (j *job) secretVariables() (all []string) {
	if j == nil {
		return nil
	}
	for _, n := range j.graph.Encrypted() {
		for _, name := range []string{n.Secret.Env, n.Seed.Env} {
			if name != "" {
				all = append(all, name)
			}
		}
	}
	return append(all, j.base.secretVariables()...)
}

// maxSecret is what cryptsetup takes as a key file.
const maxSecret = 8 << 20

func readSecret(s blockdev.Secret, env map[string]string, fds map[int][]byte) ([]byte, error) {
	var data []byte
	var err error
	switch {
	case s.Env != "":
		data = []byte(env[s.Env])
		if len(data) == 0 {
			return nil, fmt.Errorf("the variable %s is empty or not set", s.Env)
		}
		return data, nil
	case s.File != "":
		data, err = readLimited(s.File)
	case fds[s.FD] != nil:
		return fds[s.FD], nil
	default:
		if data, err = readDescriptor(s.FD); err == nil {
			fds[s.FD] = data
		}
	}
	if err == nil && len(data) == 0 {
		err = errors.New("there is nothing in it")
	}
	return data, err
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return atMost(f)
}

func readDescriptor(fd int) ([]byte, error) {
	f := os.NewFile(uintptr(fd), fmt.Sprintf("file descriptor %d", fd))
	if f == nil {
		return nil, fmt.Errorf("file descriptor %d is not open", fd)
	}
	defer f.Close()
	return atMost(f)
}

func atMost(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err == nil && len(data) > maxSecret {
		err = fmt.Errorf("more than %d bytes", maxSecret)
	}
	return data, err
}
