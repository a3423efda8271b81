package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// lintFile is a regular file that is checked.
type lintFile struct {
	path    string // as shown
	folder  string // first folder in the element: "root.d"; "" at the top
	name    string
	library bool // of LIB_DIR, not of an element
	runs    bool // has an x bit
	data    []byte
	lines   []string // without their ends
	without []string // checks that the file switches off
}

var lintDisable = regexp.MustCompile(`(?m)^\s*#\s*dib-lint:\s*disable=(.*)$`)

// addElements takes every folder of dir for an element.
func (l *linter) addElements(ctx context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("looking for elements: %w", err)
	}
	for _, e := range entries {
		element := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") || e.Name() == "__pycache__" || !isFolder(element) {
			continue
		}
		if err := l.add(ctx, element, false); err != nil {
			return err
		}
	}
	return nil
}

// add takes the files of an element or of the library.
func (l *linter) add(ctx context.Context, dir string, library bool) error {
	names, err := l.tracked(ctx, dir)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return nil // nothing there that git does not ignore
	}
	if _, err := os.Stat(filepath.Join(dir, "README.rst")); err != nil && !library {
		l.found = append(l.found, finding{path: dir, text: "the element has no README.rst"})
	}
	for _, name := range names {
		f, err := readLintFile(dir, name, library)
		if err != nil {
			return err
		}
		if f != nil {
			l.files = append(l.files, f)
		}
	}
	return nil
}

// tracked lists the files below dir, without those that git ignores. Outside a
// repository, or without git, these are all.
func (l *linter) tracked(ctx context.Context, dir string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err == nil {
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 }), nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var names []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if err == nil && d.Name() == ".git" {
				err = filepath.SkipDir
			}
			return err
		}
		name, err := filepath.Rel(dir, path)
		names = append(names, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing files: %w", err)
	}
	return names, nil
}

// readLintFile reads a file; nil for what is no text: links (they have a file of
// their own, or are for the image), binaries, what git knows but is gone.
func readLintFile(dir, name string, library bool) (*lintFile, error) {
	path := filepath.Join(dir, name)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("checking: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("checking: %w", err)
	}
	if bytes.IndexByte(data, 0) >= 0 {
		return nil, nil
	}
	f := &lintFile{path: path, name: filepath.Base(name), library: library, runs: info.Mode()&0o111 != 0, data: data}
	if first, _, below := strings.Cut(name, "/"); below {
		f.folder = first
	}
	for line := range strings.Lines(string(data)) {
		f.lines = append(f.lines, strings.TrimRight(line, "\r\n"))
	}
	for _, m := range lintDisable.FindAllSubmatch(data, -1) {
		f.without = append(f.without, lintWords(string(m[1]))...)
	}
	return f, nil
}

// shebang is the interpreter line without "#!", or "".
func (f *lintFile) shebang() string {
	if len(f.lines) == 0 {
		return ""
	}
	rest, ok := strings.CutPrefix(f.lines[0], "#!")
	if !ok {
		return ""
	}
	return strings.TrimSpace(rest)
}

// interpreter is the name of the program that runs the file, or "".
func (f *lintFile) interpreter() string {
	words := strings.Fields(f.shebang())
	if len(words) > 1 && filepath.Base(words[0]) == "env" {
		words = slices.DeleteFunc(words[1:], func(w string) bool { return strings.HasPrefix(w, "-") })
	}
	if len(words) == 0 {
		return ""
	}
	return filepath.Base(words[0])
}

// isScript says whether the checks of scripts are for this file.
func (f *lintFile) isScript() bool {
	return !slices.Contains([]string{".rst", ".yaml", ".py", ".md"}, filepath.Ext(f.name))
}

// isShell says whether a shell reads the file: by its first line, or since a
// phase sources it.
func (f *lintFile) isShell() bool {
	return slices.Contains([]string{"bash", "sh", "dash", "ksh"}, f.interpreter()) || f.folder == "environment.d"
}

// flake8 checks the Python scripts whose names do not say what they are.
func (l *linter) flake8(ctx context.Context) error {
	var scripts []string
	for _, f := range l.files {
		python := strings.HasPrefix(f.interpreter(), "python") || f.interpreter() == "dib-python"
		if python && f.isScript() && !f.library {
			scripts = append(scripts, f.path)
		}
	}
	if len(scripts) == 0 {
		return nil
	}
	out, err := exec.CommandContext(ctx, "flake8", scripts...).Output()
	var exit *exec.ExitError
	if errors.Is(err, exec.ErrNotFound) {
		l.warnf("flake8 is not installed: %s not checked", count(len(scripts), "Python script"))
		return nil
	}
	if err != nil && !errors.As(err, &exit) || err != nil && len(out) == 0 {
		return fmt.Errorf("running flake8: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		l.found = append(l.found, flake8Finding(strings.TrimSpace(line)))
	}
	return nil
}

// flake8Finding reads "path:line:column: text".
func flake8Finding(line string) finding {
	path, rest, _ := strings.Cut(line, ":")
	return finding{path: path, text: "flake8 says " + rest}
}
