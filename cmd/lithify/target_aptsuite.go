package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// An InRelease file has a few hundred kilobytes; a server that sends more than
// this sends something else.
const maxRelease = 32 << 20

// aptSuiteDigestMain is apt-suite-digest MIRROR SUITE COMPONENTS ARCHITECTURE:
// it prints what the network has for those components and that architecture of
// a suite, as lines "suite component architecture sha256" in sorted order. The
// digests are those of the package lists, so that the answer changes when
// packages do, and not when the archive merely signs or dates its files again.
// COMPONENTS is a comma list. Proxies come from the environment.
//
// It only watches for changes and verifies no signature: apt does, when it
// fetches the same lists. Source: Debian's "Repository Format".
func aptSuiteDigestMain(ctx context.Context, args, _ []string, _ io.Reader, stdout, stderr io.Writer) int {
	const name = "apt-suite-digest"
	flags := flagsFor(name, "MIRROR SUITE COMPONENT[,COMPONENT...] ARCHITECTURE", stdout)
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, err)
	}
	if flags.NArg() != 4 && !(flags.NArg() == 3 && strings.HasSuffix(flags.Arg(1), "/")) {
		return finish(stderr, name, codeError{exitUsage, fmt.Errorf("%d words given; wanted: MIRROR SUITE COMPONENTS ARCHITECTURE", flags.NArg())})
	}
	s := aptSuite{mirror: strings.TrimRight(flags.Arg(0), "/"), suite: flags.Arg(1), arch: flags.Arg(flags.NArg() - 1)}
	if flags.NArg() == 4 {
		s.components = strings.FieldsFunc(flags.Arg(2), func(r rune) bool { return r == ',' || r == ' ' })
	}
	lines, err := s.digest(ctx)
	if err != nil {
		return finish(stderr, name, fmt.Errorf("asking for suite %q: %w", s.suite, err))
	}
	_, err = io.WriteString(stdout, strings.Join(lines, "\n")+"\n")
	return finish(stderr, name, err)
}

// aptSuite is one suite of an archive, for one architecture.
type aptSuite struct {
	mirror, suite string // no slash at the mirror's end
	components    []string
	arch          string
}

// flat tells whether the archive is without suites and components: apt says so
// by a slash at the end of what would be the suite.
func (s aptSuite) flat() bool { return strings.HasSuffix(s.suite, "/") }

func (s aptSuite) digest(ctx context.Context) ([]string, error) {
	base := s.mirror + "/dists/" + s.suite
	if s.flat() {
		base = s.mirror + "/" + strings.Trim(s.suite, "/")
	}
	text, err := fetch(ctx, strings.TrimRight(base, "/")+"/InRelease")
	if errors.Is(err, fs.ErrNotExist) {
		text, err = fetch(ctx, strings.TrimRight(base, "/")+"/Release")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no such suite: neither InRelease nor Release in %s", base)
	}
	if err != nil {
		return nil, err
	}
	sums := releaseSums(text)
	if s.flat() {
		sum, ok := listSum(sums, "")
		if !ok {
			return nil, errors.New("its Release file names no Packages")
		}
		return []string{fmt.Sprintf("%s - %s %s", s.suite, s.arch, sum)}, nil
	}
	return s.lines(sums)
}

// lines answers for every component: its lists for the architecture and for
// packages of all architectures, where the archive keeps those apart.
func (s aptSuite) lines(sums map[string]string) ([]string, error) {
	var lines []string
	for _, component := range s.components {
		for _, arch := range []string{s.arch, "all"} {
			sum, ok := listSum(sums, component+"/binary-"+arch+"/")
			if !ok && arch != "all" {
				return nil, s.unknown(component, sums)
			}
			if ok {
				lines = append(lines, strings.Join([]string{s.suite, component, arch, sum}, " "))
			}
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

// listSum is the checksum of the package list below dir: of its plain form,
// which a Release file names even where the server keeps only compressed ones.
func listSum(sums map[string]string, dir string) (string, bool) {
	for _, file := range []string{"Packages", "Packages.xz", "Packages.gz", "Packages.bz2", "Packages.zst"} {
		for _, prefix := range []string{dir, "./" + dir} {
			if sum, ok := sums[prefix+file]; ok {
				return sum, true
			}
		}
	}
	return "", false
}

// unknown says what there is instead: the components of the architecture, or
// the architectures.
func (s aptSuite) unknown(component string, sums map[string]string) error {
	var components, archs []string
	for file := range sums {
		dir, _, _ := strings.Cut(strings.TrimPrefix(file, "./"), "/Packages")
		name, arch, ok := strings.Cut(dir, "/binary-")
		if !ok || strings.Contains(name, "/") || arch == "all" {
			continue
		}
		archs = append(archs, arch)
		if arch == s.arch {
			components = append(components, name)
		}
	}
	slices.Sort(components)
	slices.Sort(archs)
	if components == nil {
		return fmt.Errorf("architecture %q is not in it; there are %s", s.arch, strings.Join(slices.Compact(archs), ", "))
	}
	return fmt.Errorf("component %q is not in it; for %s there are %s", component, s.arch, strings.Join(slices.Compact(components), ", "))
}

// releaseSums reads the SHA256 field of a Release file, signed or not: path to
// checksum. Lines that have another form are passed over.
func releaseSums(text []byte) map[string]string {
	sums := map[string]string{}
	inside := false
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxRelease)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, " ") {
			inside = strings.TrimSpace(line) == "SHA256:"
			continue
		}
		if fields := strings.Fields(line); inside && len(fields) == 3 && len(fields[0]) == 64 {
			sums[fields[2]] = fields[0]
		}
	}
	return sums
}

// fetch reads a file of an archive: http, https or file. fs.ErrNotExist when it
// is not there.
func fetch(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("reading the address: %w", err)
	}
	switch u.Scheme {
	case "http", "https":
		return fetchHTTP(ctx, address)
	case "file", "copy":
		return os.ReadFile(u.Path)
	}
	return nil, fmt.Errorf("fetching %q: scheme %q: allowed are http, https and file", address, u.Scheme)
}

func fetchHTTP(ctx context.Context, address string) (_ []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Cache-Control", "max-age=0") // as apt: ask the archive, not a cache before it
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err // names the address
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	switch {
	case answer.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("fetching %s: %w", address, fs.ErrNotExist)
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("fetching %s: the server answers %s", address, answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxRelease+1))
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", address, err)
	}
	if len(text) > maxRelease {
		return nil, fmt.Errorf("fetching %s: more than %d bytes", address, maxRelease)
	}
	return text, nil
}
