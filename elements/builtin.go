package elements

import (
	"bytes"
	"embed"
	"io/fs"
)

// The pattern takes what is inside the folders and so leaves the Go files of
// this package out; "all:" keeps names that begin with a dot or a low line.
//
//go:embed all:*/*
var embedded embed.FS

// Builtin is the library that the program carries with it.
func Builtin() Source {
	return Source{Dir: "(built in)", FS: withModes{embedded}, Builtin: true}
}

// withModes gives embedded files the modes that the checkout has: embed keeps
// none, so a file that names its interpreter is taken for a program.
type withModes struct{ embed.FS }

func (m withModes) Open(name string) (fs.File, error) {
	if err := m.hidden("open", name); err != nil {
		return nil, err
	}
	f, err := m.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if dir, ok := f.(fs.ReadDirFile); ok {
		return moddedDir{dir, m, name}, nil
	}
	return moddedFile{f, m, name}, nil
}

func (m withModes) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := m.hidden("readdir", name); err != nil {
		return nil, err
	}
	entries, err := m.FS.ReadDir(name)
	return m.wrap(name, entries), err
}

func (m withModes) Stat(name string) (fs.FileInfo, error) {
	if err := m.hidden("stat", name); err != nil {
		return nil, err
	}
	info, err := fs.Stat(m.FS, name)
	if err != nil {
		return nil, err
	}
	return m.info(name, info), nil
}

// hidden keeps the data of this package's own tests from being an element.
func (m withModes) hidden(op, name string) error {
	if name == "testdata" {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return nil
}

func (m withModes) info(name string, info fs.FileInfo) fs.FileInfo {
	if info.IsDir() {
		return moddedInfo{info, fs.ModeDir | 0o755}
	}
	data, err := m.FS.ReadFile(name)
	if err == nil && bytes.HasPrefix(data, []byte("#!")) {
		return moddedInfo{info, 0o755}
	}
	return moddedInfo{info, 0o644}
}

func (m withModes) wrap(dir string, entries []fs.DirEntry) []fs.DirEntry {
	var wrapped []fs.DirEntry
	for _, e := range entries {
		name := e.Name()
		if dir != "." {
			name = dir + "/" + name
		}
		if m.hidden("", name) == nil {
			wrapped = append(wrapped, moddedEntry{e, m, name})
		}
	}
	return wrapped
}

type moddedInfo struct {
	fs.FileInfo
	mode fs.FileMode
}

func (i moddedInfo) Mode() fs.FileMode { return i.mode }

type moddedFile struct {
	fs.File
	in   withModes
	name string
}

func (f moddedFile) Stat() (fs.FileInfo, error) { return f.in.Stat(f.name) }

type moddedDir struct {
	fs.ReadDirFile
	in   withModes
	name string
}

func (d moddedDir) Stat() (fs.FileInfo, error) { return d.in.Stat(d.name) }

func (d moddedDir) ReadDir(n int) ([]fs.DirEntry, error) {
	entries, err := d.ReadDirFile.ReadDir(n)
	return d.in.wrap(d.name, entries), err
}

type moddedEntry struct {
	fs.DirEntry
	in   withModes
	name string
}

func (e moddedEntry) Info() (fs.FileInfo, error) { return e.in.Stat(e.name) }
