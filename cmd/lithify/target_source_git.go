package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tries of a command that asks a remote; a variable for tests.
var (
	gitTries = 5
	gitPause = 5 * time.Second
)

// kept is where a clone in the cache has what a ref stood for when it was asked
// for last. By checksum: a ref may be called as a folder of others.
func kept(ref string) string { return fmt.Sprintf("refs/lithify/%x", sha256.Sum256([]byte(ref))) }

// git brings the clone in the cache up to date, then makes of it what the image
// gets: the same for the same commit and tags, whoever builds.
//
//	cache: a bare clone with the ref, and all tags
//	image: one pack made anew of the commit and the tags below it, an index
//	       without times, files as old as the commit, the real location as origin
func (j *sourceJob) git(ctx context.Context, s source, answer bool) error {
	g := gitClone{job: j, source: s, dir: j.cached(s)}
	if err := g.refresh(ctx); err != nil {
		return err
	}
	commit, refs, err := g.content(ctx)
	if err != nil {
		return err
	}
	if answer {
		_, err := fmt.Fprintf(j.stdout, "%s git %s %x\n", s.name, commit, sha256.Sum256([]byte(strings.Join(refs, "\n"))))
		return err
	}
	if err := g.checkout(ctx, commit, refs); err != nil {
		return err
	}
	if err := j.fetched(s); err != nil {
		return err
	}
	dir := getenv(j.env, "DIB_MANIFEST_IMAGE_DIR")
	if dir == "" {
		dir = "/etc/dib-manifests"
	}
	return j.note(filepath.Join(dir, "dib-manifest-git"), strings.Join([]string{s.name, "git", s.dest, publicLocation(s.location), commit}, " "))
}

// publicLocation is a location without what only its owner should know.
func publicLocation(location string) string {
	if u, err := url.Parse(location); err == nil && u.User != nil && strings.HasPrefix(u.Scheme, "http") {
		u.User = nil
		return u.String()
	}
	return location
}

// gitClone is the clone of a repository in the cache.
type gitClone struct {
	job    *sourceJob
	source source
	dir    string
}

// run calls git in dir. What asks a remote obeys the user's configuration; all
// else knows none.
func (g gitClone) run(ctx context.Context, dir string, input []byte, args ...string) ([]byte, error) {
	fixed := []string{"-c", "safe.directory=*", "-c", "gc.auto=0", "-c", "core.logAllRefUpdates=false", "-c", "advice.detachedHead=false"}
	cmd := exec.CommandContext(ctx, "git", append(fixed, args...)...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(input)
	for _, entry := range g.job.env {
		if name, _, _ := strings.Cut(entry, "="); !strings.HasPrefix(name, "GIT_") || strings.HasPrefix(name, "GIT_SS") || strings.HasPrefix(name, "GIT_CONFIG") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	if !slices.Contains([]string{"ls-remote", "fetch"}, args[0]) {
		cmd.Env = append(cmd.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_COUNT=0", "GIT_ATTR_NOSYSTEM=1")
	}
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("running git %s: %w: %s", args[0], err, gitComplaint(complaint.Bytes()))
	}
	return out.Bytes(), nil
}

// gitComplaint is what git says is wrong; advice may follow it.
func gitComplaint(text []byte) string {
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "fatal: ") {
			return strings.TrimSpace(line)
		}
	}
	return lastLine(text)
}

// words are those of a command line.
type words []string

func (w words) with(more ...string) words { return append(w, more...) }

// ask is the beginning of a command that asks the remote, up to its location.
// git refuses to read a repository of this host that belongs to somebody else,
// as it does when root builds from a user's; nothing of it is run here.
func (g gitClone) ask(command ...string) words {
	if filepath.IsAbs(g.source.location) || strings.HasPrefix(g.source.location, "file:") {
		command = append(command, "--upload-pack=git -c safe.directory=* upload-pack")
	}
	return append(command, "--", g.source.location)
}

// lastLine is the last line that says something.
func lastLine(text []byte) string {
	text = bytes.TrimSpace(text)
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}

// patiently tries again what asks a remote.
func patiently(ctx context.Context, do func() error) error {
	for left := gitTries - 1; ; left-- {
		err := do()
		if err == nil || left <= 0 || ctx.Err() != nil || errors.Is(err, exec.ErrNotFound) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-time.After(gitPause):
		}
	}
}

var commitID = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

// refresh fetches what the remote has and the clone has not.
func (g gitClone) refresh(ctx context.Context) error {
	if _, err := g.run(ctx, g.job.cache, nil, "init", "-q", "--bare", "--template=", g.dir); err != nil {
		return err
	}
	if g.job.offline {
		return nil
	}
	return patiently(ctx, func() error { return g.update(ctx) })
}

func (g gitClone) update(ctx context.Context) error {
	ref := g.source.ref
	patterns := []string{"HEAD", "refs/tags/*", "refs/heads/*"}
	if ref != "*" {
		patterns = []string{"HEAD", "refs/tags/*", ref}
	}
	text, err := g.run(ctx, g.dir, nil, g.ask("ls-remote", "--symref").with(patterns...)...)
	if err != nil {
		return err
	}
	remote, head := parseRefs(string(text))
	wanted := map[string]string{} // ref of the clone: ref of the remote
	for name := range remote {
		if strings.HasPrefix(name, "refs/tags/") || ref == "*" && strings.HasPrefix(name, "refs/heads/") {
			wanted[name] = name
		}
	}
	if ref != "*" {
		name := remoteName(remote, ref)
		if name == "" {
			return g.findCommit(ctx, ref)
		}
		wanted[kept(ref)] = name
	}
	have, err := g.refs(ctx)
	if err != nil {
		return err
	}
	if head != "" && ref == "*" {
		if _, err := g.run(ctx, g.dir, nil, "symbolic-ref", "HEAD", head); err != nil {
			return err
		}
	}
	return g.fetchMissing(ctx, wanted, remote, have)
}

// fetchMissing fetches unless every wanted ref is where the remote has it, and
// forgets tags and branches that the remote no longer has.
func (g gitClone) fetchMissing(ctx context.Context, wanted, remote, have map[string]string) error {
	var specs, gone []string
	for local, name := range wanted {
		if have[local] != remote[name] {
			specs = append(specs, "+"+name+":"+local)
		}
	}
	for name := range have {
		if wanted[name] == "" && (strings.HasPrefix(name, "refs/tags/") || g.source.ref == "*" && strings.HasPrefix(name, "refs/heads/")) {
			gone = append(gone, "delete "+name+"\n")
		}
	}
	if len(gone) > 0 {
		if _, err := g.run(ctx, g.dir, []byte(strings.Join(gone, "")), "update-ref", "--stdin"); err != nil {
			return err
		}
	}
	if len(specs) == 0 {
		return nil
	}
	slices.Sort(specs)
	_, err := g.run(ctx, g.dir, []byte(strings.Join(specs, "\n")), g.ask("fetch", "-q", "--no-tags", "--force", "--no-write-fetch-head", "--stdin")...)
	return err
}

// findCommit sees to a ref that the remote has under no name: a commit, asked
// for by itself, or else found below what there is.
func (g gitClone) findCommit(ctx context.Context, ref string) error {
	if !commitID.MatchString(ref) {
		return fmt.Errorf("%q has no branch, tag or other ref %q", publicLocation(g.source.location), ref)
	}
	known := func() bool {
		_, err := g.run(ctx, g.dir, nil, "cat-file", "-e", ref+"^{commit}")
		return err == nil
	}
	if !known() {
		if _, err := g.run(ctx, g.dir, nil, g.ask("fetch", "-q", "--no-tags", "--no-write-fetch-head").with(ref)...); err != nil || !known() {
			_, err := g.run(ctx, g.dir, nil, g.ask("fetch", "-q", "--force", "--no-write-fetch-head").with("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")...)
			if err != nil {
				return err
			}
		}
	}
	full, err := g.run(ctx, g.dir, nil, "rev-parse", "--verify", "-q", ref+"^{commit}")
	if err != nil {
		return fmt.Errorf("%q has no commit %q below a branch or tag", publicLocation(g.source.location), ref)
	}
	_, err = g.run(ctx, g.dir, nil, "update-ref", kept(ref), strings.TrimSpace(string(full)))
	return err
}

// parseRefs reads what ls-remote --symref prints; head is the branch that HEAD
// stands for.
func parseRefs(text string) (refs map[string]string, head string) {
	refs = map[string]string{}
	for line := range strings.Lines(text) {
		object, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if branch, ok := strings.CutPrefix(object, "ref: "); ok {
			if name == "HEAD" {
				head = branch
			}
			continue
		}
		if !strings.HasSuffix(name, "^{}") {
			refs[name] = object
		}
	}
	return refs, head
}

// remoteName finds a ref as git itself does; "" when there is none.
func remoteName(remote map[string]string, ref string) string {
	for _, prefix := range []string{"", "refs/", "refs/tags/", "refs/heads/"} {
		if remote[prefix+ref] != "" {
			return prefix + ref
		}
	}
	return ""
}

func (g gitClone) refs(ctx context.Context) (map[string]string, error) {
	text, err := g.run(ctx, g.dir, nil, "for-each-ref", "--format=%(objectname)\t%(refname)")
	refs, _ := parseRefs(string(text))
	return refs, err
}

// content gives the commit to check out, and the refs that the image's clone
// gets, as lines "object name", sorted: tags below the commit, or everything.
func (g gitClone) content(ctx context.Context) (commit string, refs []string, err error) {
	name, select_ := kept(g.source.ref), []string{"refs/tags"}
	if g.source.ref == "*" {
		name, select_ = "HEAD", []string{"refs/tags", "refs/heads"}
	}
	id, err := g.run(ctx, g.dir, nil, "rev-parse", "--verify", "-q", name+"^{commit}")
	if err != nil {
		return "", nil, fmt.Errorf("%q has no %q that is known here (offline: %t)", publicLocation(g.source.location), g.source.ref, g.job.offline)
	}
	commit = strings.TrimSpace(string(id))
	args := []string{"for-each-ref", "--format=%(objectname) %(refname)"}
	if g.source.ref != "*" {
		args = append(args, "--merged="+commit)
	}
	text, err := g.run(ctx, g.dir, nil, append(args, select_...)...)
	for line := range strings.Lines(string(text)) {
		refs = append(refs, strings.TrimSpace(line))
	}
	slices.Sort(refs)
	return commit, refs, err
}

// checkout makes the image's clone.
func (g gitClone) checkout(ctx context.Context, commit string, refs []string) error {
	at, err := g.job.inTree(g.source.dest)
	if err != nil {
		return err
	}
	branch := "fetch_" + g.source.ref
	if g.source.ref == "*" {
		name, err := g.run(ctx, g.dir, nil, "symbolic-ref", "--short", "HEAD")
		if err != nil {
			return err
		}
		branch = strings.TrimSpace(string(name))
	}
	if err := g.makeRoom(ctx, at, branch); err != nil {
		return err
	}
	if _, err := g.run(ctx, filepath.Dir(at), nil, "init", "-q", "--template=", "--initial-branch="+branch, at); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return g.pack(ctx, at, commit, refs) },
		func() error { return g.point(ctx, at, branch, commit, refs) },
		func() error { return g.spread(ctx, at) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	made, err := g.run(ctx, at, nil, "show", "-s", "--format=%ct", commit)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(made)), 10, 64)
	if err != nil {
		return err
	}
	return setTimes(at, time.Unix(seconds, 0))
}

// makeRoom takes away a checkout of the same ref of the same repository;
// anything else that is at its place is a mistake.
func (g gitClone) makeRoom(ctx context.Context, at, branch string) error {
	entries, err := os.ReadDir(at)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(filepath.Dir(at), 0o755)
	}
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	origin, err := g.run(ctx, at, nil, "config", "--file", filepath.Join(at, ".git/config"), "remote.origin.url")
	if err != nil {
		return fmt.Errorf("%q is there already and is no git checkout", g.source.dest)
	}
	if found := strings.TrimSpace(string(origin)); found != publicLocation(g.source.location) {
		return fmt.Errorf("%q is there already, as a checkout of %q", g.source.dest, found)
	}
	if _, err := g.run(ctx, at, nil, "rev-parse", "--verify", "-q", "refs/heads/"+branch); err != nil {
		return fmt.Errorf("%q is there already, as a checkout without branch %q", g.source.dest, branch)
	}
	return os.RemoveAll(at)
}

// pack gives the image its objects. Nothing of the cache's packs is copied as it
// is: they tell in which order things were fetched here.
func (g gitClone) pack(ctx context.Context, at, commit string, refs []string) error {
	objects := []string{commit}
	for _, line := range refs {
		object, _, _ := strings.Cut(line, " ")
		objects = append(objects, object)
	}
	slices.Sort(objects)
	input := []byte(strings.Join(slices.Compact(objects), "\n") + "\n")
	packed, err := os.MkdirTemp(g.job.cache, ".pack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(packed)
	_, err = g.run(ctx, g.dir, input, "pack-objects", "-q", "--revs", "--threads=1", "--no-reuse-delta", "--no-reuse-object",
		"--no-use-bitmap-index", "--delta-base-offset", filepath.Join(packed, "pack"))
	if err != nil {
		return err
	}
	packs, err := filepath.Glob(filepath.Join(packed, "*.pack"))
	if err != nil {
		return err
	}
	for _, p := range packs {
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if _, err := g.run(ctx, at, data, "index-pack", "--stdin"); err != nil {
			return err
		}
	}
	return nil
}

// point makes branches, tags and the origin.
func (g gitClone) point(ctx context.Context, at, branch, commit string, refs []string) error {
	var input strings.Builder
	for _, line := range refs {
		object, name, _ := strings.Cut(line, " ")
		if name != "refs/heads/"+branch {
			fmt.Fprintf(&input, "create %s %s\n", name, object)
		}
	}
	fmt.Fprintf(&input, "create refs/heads/%s %s\n", branch, commit)
	if _, err := g.run(ctx, at, []byte(input.String()), "update-ref", "--stdin"); err != nil {
		return err
	}
	for _, pair := range [][2]string{{"remote.origin.url", publicLocation(g.source.location)}, {"remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"}} {
		if _, err := g.run(ctx, at, nil, "config", pair[0], pair[1]); err != nil {
			return err
		}
	}
	return nil
}

// spread writes the files and an index that knows nothing of this file system.
func (g gitClone) spread(ctx context.Context, at string) error {
	if _, err := g.run(ctx, at, nil, "read-tree", "HEAD"); err != nil {
		return err
	}
	_, err := g.run(ctx, at, nil, "checkout-index", "--all", "--force")
	return err
}

// setTimes gives everything at dir and below one time.
func setTimes(dir string, when time.Time) error {
	times := []unix.Timespec{unix.NsecToTimespec(when.UnixNano()), unix.NsecToTimespec(when.UnixNano())}
	return filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("setting the time of %q: %w", p, err)
		}
		return nil
	})
}
