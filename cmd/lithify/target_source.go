package main

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	securejoin "github.com/cyphar/filepath-securejoin"
)

// sourceVariables are the patterns of the variables that source-repositories
// reads besides those that the lines name.
var sourceVariables = []string{
	"DIB_REPOTYPE_*", "DIB_REPOLOCATION_*", "DIB_REPOREF_*", "DIB_INSTALLTYPE_*", "DIB_DEFAULT_INSTALLTYPE",
	"DIB_GITREPOBASE", "NO_SOURCE_REPOSITORIES", "DIB_MANIFEST_IMAGE_DIR",
}

// sourceJob is one run of source-repositories: what is to be fetched, and where
// it goes.
type sourceJob struct {
	env            []string
	cache          string // folder of clones and downloads
	offline        bool
	stdout, stderr io.Writer
}

// sourceRepositoriesMain is source-repositories [--answer]: it fetches what the
// files source-repository-* of the hooks tree list and puts it into the tree.
// With --answer it brings the cache up to date and prints what would be put
// there: commits and checksums.
func sourceRepositoriesMain(ctx context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	const name = "source-repositories"
	flags := flagsFor(name, "[--answer]", stdout)
	answer := flags.Bool("answer", false, "print what would be fetched, and change nothing but the cache")
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, err)
	}
	j := sourceJob{env: env, stdout: stdout, stderr: stderr, offline: isSet(getenv(env, "DIB_OFFLINE"))}
	return finish(stderr, name, j.run(ctx, *answer))
}

func isSet(value string) bool { return value != "" && value != "0" }

func (j *sourceJob) run(ctx context.Context, answer bool) error {
	if getenv(j.env, "NO_SOURCE_REPOSITORIES") != "" {
		return nil
	}
	hooks, cache := getenv(j.env, "TMP_HOOKS_PATH"), getenv(j.env, "DIB_IMAGE_CACHE")
	if hooks == "" || cache == "" {
		return errors.New("TMP_HOOKS_PATH and DIB_IMAGE_CACHE must be set: it is for hooks on the build host")
	}
	j.cache = filepath.Join(cache, "source-repositories")
	list, err := readSources(hooks, j.env)
	if err != nil || len(list) == 0 {
		return err
	}
	if err := os.MkdirAll(j.cache, 0o755); err != nil {
		return err
	}
	unlock, err := lockSources(ctx, filepath.Join(cache, "repositories_flock"))
	if err != nil {
		return err
	}
	defer unlock()
	syscall.Umask(0o022)
	for _, s := range list {
		if err := j.one(ctx, s, answer); err != nil {
			return fmt.Errorf("%s: repository %q: %w", s.place, s.name, err)
		}
	}
	return nil
}

func (j *sourceJob) one(ctx context.Context, s source, answer bool) error {
	if s.installType != "source" {
		fmt.Fprintf(j.stderr, "%s is not fetched: its install type is %q\n", s.name, s.installType)
		return nil
	}
	fetch := map[string]func(context.Context, source, bool) error{"git": j.git, "tar": j.tar, "file": j.file}[s.kind]
	if fetch == nil {
		return fmt.Errorf("type %q is fetched by the package manager: DIB_INSTALLTYPE_%s=package skips it", s.kind, s.variable())
	}
	return fetch(ctx, s, answer)
}

// cached is where the clone or download of s is kept.
func (j *sourceJob) cached(s source) string {
	return filepath.Join(j.cache, fmt.Sprintf("%s_%x", s.variable(), sha1.Sum([]byte(s.kind+"_"+s.location))))
}

// inTree is a path of the image as it is on the host; links of the image lead
// nowhere else.
func (j *sourceJob) inTree(name string) (string, error) {
	tree := getenv(j.env, "TMP_MOUNT_PATH")
	if tree == "" {
		return "", errors.New("TMP_MOUNT_PATH is not set: it is for hooks on the build host")
	}
	return securejoin.SecureJoin(tree, name)
}

// note appends a line to a file of the image.
func (j *sourceJob) note(name, line string) error {
	at, err := j.inTree(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// fetched notes that s is in the image.
func (j *sourceJob) fetched(s source) error { return j.note("/etc/dib-source-repositories", s.dest) }

// patience is how long fetching waits for another build's, as the contract has it.
const patience = 600 * time.Second

// lockSources takes an exclusive lock, which ends with the process at the latest.
func lockSources(ctx context.Context, name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("another build has held it for %s", patience))
	defer cancel()
	if err := lockFile(ctx, f, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %q: %w", name, err), f.Close())
	}
	return func() { f.Close() }, nil
}

// source is one line of a source-repository file, with what variables say
// about it.
type source struct {
	place                           string // file and line
	name, kind, dest, location, ref string
	installType                     string
}

var notWord = regexp.MustCompile(`[^A-Za-z0-9]`)

// variable is the name as variables have it.
func (s source) variable() string { return notWord.ReplaceAllString(s.name, "_") }

// readSources reads the source-repository files of a hooks tree, by name.
func readSources(hooks string, env []string) ([]source, error) {
	files, err := filepath.Glob(filepath.Join(hooks, "source-repository-*"))
	if err != nil {
		return nil, err
	}
	var list []source
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		some, err := parseSources(filepath.Base(file), string(text), env)
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}

func parseSources(file, text string, env []string) ([]source, error) {
	var list []source
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s, err := parseSource(line, env)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, number, err)
		}
		s.place = fmt.Sprintf("%s, line %d", file, number)
		list = append(list, s)
	}
	return list, nil
}

func parseSource(line string, env []string) (s source, err error) {
	expanded, err := expandVariables(line, env)
	if err != nil {
		return s, err
	}
	fields := strings.Fields(expanded)
	if len(fields) < 4 || len(fields) > 5 {
		return s, fmt.Errorf("found %q; allowed is NAME TYPE DESTINATION LOCATION [REF]", line)
	}
	s = source{name: fields[0], kind: fields[1], dest: fields[2], location: fields[3]}
	if len(fields) == 5 {
		s.ref = fields[4]
	}
	s.override(env)
	return s, s.check()
}

// override takes what variables say in the place of the line.
func (s *source) override(env []string) {
	or := func(name, value string) string {
		if given := getenv(env, name); given != "" {
			return given
		}
		return value
	}
	v := s.variable()
	s.kind = or("DIB_REPOTYPE_"+v, s.kind)
	s.ref = or("DIB_REPOREF_"+v, s.ref)
	s.installType = or("DIB_INSTALLTYPE_"+v, or("DIB_DEFAULT_INSTALLTYPE", "source"))
	location := or("DIB_REPOLOCATION_"+v, "")
	base := getenv(env, "DIB_GITREPOBASE")
	switch {
	case location != "":
		s.location = location
	case base != "" && s.kind == "git":
		s.location = atBase(base, s.location)
	}
	if s.ref == "" {
		s.ref = map[string]string{"git": "master", "tar": "*"}[s.kind]
	}
}

var gitHost = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://[^/]*(/~[^/]*)?/`)

// atBase puts base where a location has its scheme, host and ~user.
func atBase(base, location string) string {
	rest := gitHost.ReplaceAllString(location, "")
	if rest == location {
		return location
	}
	return strings.TrimSuffix(base, "/") + "/" + rest
}

func (s source) check() error {
	switch s.kind {
	case "git", "tar", "file", "package":
	default:
		return fmt.Errorf("repository %q: type %q; allowed: git, tar, file, package", s.name, s.kind)
	}
	if !filepath.IsAbs(s.dest) || filepath.Clean(s.dest) == "/" {
		return fmt.Errorf("repository %q: destination %q; allowed is a path of the image, from /", s.name, s.dest)
	}
	if strings.HasPrefix(s.location, "-") || strings.HasPrefix(s.ref, "-") {
		return fmt.Errorf("repository %q: location %q and ref %q must not begin with a dash", s.name, s.location, s.ref)
	}
	return nil
}

var reference = regexp.MustCompile(`\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?-)([^{}$]*))?\}|(.?))|` + "`")

// expandVariables puts values in the place of $NAME, ${NAME} and
// ${NAME:-default}. Nothing is ever run.
func expandVariables(line string, env []string) (string, error) {
	var mistake error
	out := reference.ReplaceAllStringFunc(line, func(found string) string {
		m := reference.FindStringSubmatch(found)
		name := m[1] + m[2]
		if name == "" {
			mistake = fmt.Errorf("found %q in %q; allowed are $NAME, ${NAME} and ${NAME:-default}: nothing is run", found, line)
			return ""
		}
		value, set := lookupEnv(env, name)
		switch {
		case m[3] == ":-" && value == "", m[3] == "-" && !set:
			return m[4]
		case !set && m[3] == "":
			mistake = fmt.Errorf("found %q: the variable %s is not set", line, name)
		}
		return value
	})
	return out, mistake
}
