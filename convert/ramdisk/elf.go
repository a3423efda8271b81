package ramdisk

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// object is what the loader reads of a program or library.
type object struct {
	class   elf.Class
	machine elf.Machine
	interp  string // the loader; "" in libraries and static programs
	needed  []string
	rpath   []string // DT_RPATH, which does not count where there is a runpath
	runpath []string
	// wanted are libraries that the object opens by itself once it runs, as it
	// says in .note.dlopen (uapi-group.org/specifications/specs/elf_dlopen_metadata).
	wanted []string
}

// errNotELF says that a file is no object of any kind.
var errNotELF = errors.New("no ELF file")

func readObject(file string) (o object, err error) {
	f, err := os.Open(file)
	if err != nil {
		return o, err
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(f, magic); err != nil || string(magic) != elf.ELFMAG {
		return o, errNotELF
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return o, fmt.Errorf("reading the ELF headers of %q: %w", file, err)
	}
	o.class, o.machine = e.Class, e.Machine
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > 4096 {
			continue
		}
		text, err := io.ReadAll(p.Open())
		if err != nil {
			return o, fmt.Errorf("reading the name of the loader of %q: %w", file, err)
		}
		o.interp = string(bytes.TrimRight(text, "\x00"))
	}
	// A static program has no dynamic section: that is no mistake.
	o.needed, _ = e.DynString(elf.DT_NEEDED)
	o.rpath = paths(e, elf.DT_RPATH)
	o.runpath = paths(e, elf.DT_RUNPATH)
	o.wanted = dlopens(e)
	return o, nil
}

func paths(e *elf.File, tag elf.DynTag) (all []string) {
	list, _ := e.DynString(tag)
	for _, text := range list {
		all = append(all, strings.FieldsFunc(text, func(r rune) bool { return r == ':' })...)
	}
	return all
}

// dlopens reads the names in .note.dlopen: notes of the owner FDO, each a JSON list.
// What cannot be read is left out: it is a hint.
func dlopens(e *elf.File) (names []string) {
	const kind = 0x407c0c0a
	s := e.Section(".note.dlopen")
	if s == nil || s.Type == elf.SHT_NOBITS || s.Size > 1<<20 {
		return nil
	}
	data, err := s.Data()
	if err != nil {
		return nil
	}
	for len(data) >= 12 {
		nameSize, size := int(e.ByteOrder.Uint32(data)), int(e.ByteOrder.Uint32(data[4:]))
		from := 12 + (nameSize+3)&^3
		if nameSize > len(data) || size > len(data) || from+size > len(data) {
			return names
		}
		if e.ByteOrder.Uint32(data[8:]) == kind {
			names = append(names, sonames(data[from:from+size])...)
		}
		data = data[min(from+(size+3)&^3, len(data)):]
	}
	return names
}

func sonames(text []byte) (names []string) {
	var list []struct {
		Soname []string `json:"soname"`
	}
	if json.Unmarshal(bytes.TrimRight(text, "\x00"), &list) != nil {
		return nil
	}
	for _, each := range list {
		names = append(names, each.Soname...)
	}
	return names
}
