package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// lintMain is dib-lint [DIR...]: it checks folders of elements, by default those
// of ELEMENTS_DIR and LIB_DIR, by the rules that diskimage-builder holds its own
// to. Findings and the verdict go to stdout.
func lintMain(ctx context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	const name = "dib-lint"
	flags := flagsFor(name, "[FOLDER_OF_ELEMENTS...]", stdout)
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, usageCode(err))
	}
	l := linter{stderr: stderr}
	findings, err := l.run(ctx, flags.Args(), env)
	if err != nil {
		return finish(stderr, name, err)
	}
	out := bufio.NewWriter(stdout)
	for _, f := range findings {
		fmt.Fprintf(out, "ERROR: %s\n", f)
	}
	verdict, code := "PASS", 0
	if len(findings) > 0 {
		verdict, code = fmt.Sprintf("FAIL: %s", count(len(findings), "finding")), 1
	}
	fmt.Fprintln(out, verdict)
	if err := out.Flush(); err != nil {
		return finish(stderr, name, err)
	}
	return code
}

// finding is one line of the result.
type finding struct {
	check string // the id that switches it off, or ""
	path  string
	line  int // from 1; 0: the whole file
	text  string
}

func (f finding) String() string {
	where := f.path
	if f.line > 0 {
		where = fmt.Sprintf("%s:%d", f.path, f.line)
	}
	if f.check == "" {
		return where + ": " + f.text
	}
	return fmt.Sprintf("%s: %s (%s)", where, f.text, f.check)
}

// lintIDs are the checks that can be switched off.
var lintIDs = []string{
	"executable", "indent", "sete", "setu", "setpipefail", "dibdebugtrace", "safe_sudo", "which", "tabindent", "newline", "mddocs",
}

// linter is one call of dib-lint.
type linter struct {
	stderr io.Writer
	ignore []string // checks that the project switched off
	files  []*lintFile
	found  []finding
}

func (l *linter) warnf(format string, args ...any) {
	fmt.Fprintf(l.stderr, "dib-lint: warning: "+format+"\n", args...)
}

func (l *linter) run(ctx context.Context, dirs, env []string) ([]finding, error) {
	if err := l.readConfig("tox.ini"); err != nil {
		return nil, err
	}
	library, err := lintFolders(&dirs, env)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		if err := l.addElements(ctx, dir); err != nil {
			return nil, err
		}
	}
	if library != "" {
		if err := l.add(ctx, library, true); err != nil {
			return nil, err
		}
	}
	for _, f := range l.files {
		l.check(f)
	}
	if err := l.flake8(ctx); err != nil {
		return nil, err
	}
	slices.SortStableFunc(l.found, func(a, b finding) int { return strings.Compare(a.path, b.path) })
	return l.found, nil
}

// lintFolders finds what to check: what was named, else the variables, else where
// diskimage-builder has its own, else ./elements, else this folder.
func lintFolders(dirs *[]string, env []string) (library string, err error) {
	elements, library := getenv(env, "ELEMENTS_DIR"), getenv(env, "LIB_DIR")
	if library == "" && isFolder("diskimage_builder/lib") {
		library = "diskimage_builder/lib"
	}
	if len(*dirs) > 0 {
		library = ""
	} else if elements != "" {
		*dirs = []string{elements}
	} else {
		*dirs = []string{"."}
		for _, dir := range []string{"elements", "diskimage_builder/elements"} {
			if isFolder(dir) {
				*dirs = []string{dir}
			}
		}
	}
	for _, dir := range append(slices.Clone(*dirs), library) {
		if dir != "" && !isFolder(dir) {
			return "", fmt.Errorf("%q is not a folder; ELEMENTS_DIR and LIB_DIR say where the elements and the library are", dir)
		}
	}
	return library, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// readConfig reads the key ignore of the section [dib-lint], which may go on over
// lines that begin with a blank.
func (l *linter) readConfig(file string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the project's configuration: %w", err)
	}
	section, reading := "", false
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		text := strings.TrimSpace(line)
		indented := text != "" && strings.ContainsRune(" \t", rune(line[0]))
		switch key, value, found := strings.Cut(text, "="); {
		case text == "" || strings.ContainsRune("#;", rune(text[0])):
		case strings.HasPrefix(text, "["):
			section, reading = strings.Trim(text, "[] "), false
		case section != "dib-lint":
		case indented && reading:
			l.ignoreChecks(file, number, text)
		default:
			if reading = found && strings.TrimSpace(key) == "ignore"; reading {
				l.ignoreChecks(file, number, value)
			}
		}
	}
	return nil
}

func (l *linter) ignoreChecks(file string, line int, text string) {
	for _, id := range lintWords(text) {
		if !slices.Contains(lintIDs, id) {
			l.warnf("%s:%d: there is no check %q that can be switched off%s", file, line, id, didYouMean(id, lintIDs))
		}
		l.ignore = append(l.ignore, id)
	}
}

func lintWords(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n,", r) })
}
