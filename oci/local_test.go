package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/rootfs"
)

// A name without a host goes to the store that podman of this user has: another
// process finds it there by the usual file.
func TestImageSavedLocally(t *testing.T) {
	needRoot(t)
	needTool(t, "skopeo")
	dir := t.TempDir()
	conf := filepath.Join(dir, "storage.conf")
	must(t, os.WriteFile(conf, []byte("[storage]\ndriver = \"overlay\"\ngraphroot = \""+dir+"/graph\"\nrunroot = \""+dir+"/run\"\n"+
		"rootless_storage_path = \""+dir+"/graph\"\n"), 0o600))
	cmd := helper(t, "save", filepath.Join(dir, "store"))
	cmd.Env = append(cmd.Env, "CONTAINERS_STORAGE_CONF="+conf)
	out, err := cmd.Output()
	must(t, err)
	st, err := storage.GetStore(storage.StoreOptions{GraphRoot: dir + "/graph", RunRoot: dir + "/run", GraphDriverName: "overlay",
		GraphDriverOptions: []string{"overlay.skip_mount_home=true"}})
	must(t, err)
	defer st.Free()
	img, err := st.Image("localhost/team/web:latest")
	must(t, err)
	if want := strings.TrimSpace(string(out)); img.Digest.String() != want {
		t.Errorf("digest %s, want %s", img.Digest, want)
	}
	all, err := st.Images()
	must(t, err)
	layers, err := st.Layers()
	must(t, err)
	if len(all) != 2 || len(layers) != 4 { // the older and the newer: three layers and another third
		t.Errorf("%d images, %d layers, want 2 and 4", len(all), len(layers))
	}
	mounted, err := st.Mount(img.TopLayer, "")
	must(t, err)
	got := without(snapshot(t, mounted, true), ".")
	_, err = st.Unmount(img.TopLayer, false)
	must(t, err)
	s := openStore(t, filepath.Join(dir, "store"))
	late, _, err := s.Find(t.Context(), key("late"))
	must(t, err)
	if d := diff(without(seen(t, s, late), ".", "dev/null"), got); len(d) > 0 {
		t.Error(d)
	}
	name := "containers-storage:[overlay@" + dir + "/graph+" + dir + "/run]localhost/team/web:latest"
	t.Cleanup(func() { unix.Unmount(dir+"/graph/overlay", unix.MNT_DETACH) }) // skopeo leaves it
	if text := run(t, "skopeo", "inspect", "--config", name); !strings.Contains(text, `"architecture"`) {
		t.Errorf("skopeo inspect: %s", text)
	}
}

// helpSave saves an image under one name: anew, unchanged, and with another last
// layer.
func helpSave(ctx context.Context, s *Store) error {
	at, err := s.Base(ctx)
	if err != nil {
		return err
	}
	var ends []rootfs.Layer
	for _, n := range []string{"root", "install", "finalise"} {
		if at, err = s.stepFor(ctx, at, n, put(n, strings.Repeat(n, 10_000))); err != nil {
			return err
		}
		ends = append(ends, at)
	}
	first, err := saveAs(ctx, s, "team/web", ends)
	if err != nil {
		return err
	}
	if err := first.Remove(); err != nil {
		return err
	}
	if err := saveLacking(ctx, s, ends); err != nil {
		return err
	}
	again, err := saveAs(ctx, s, "containers-storage:team/web:latest", ends)
	if err != nil || again.Digest() != first.Digest() {
		return errors.Join(err, errors.New("saved again it is another image"))
	}
	if left, err := os.ReadDir(again.blobFolder()); err != nil || len(left) > 0 {
		return fmt.Errorf("saved again, blobs were made: %v, %w", left, err)
	}
	if ends[2], err = s.stepFor(ctx, ends[1], "late", put("late", "late")); err != nil {
		return err
	}
	late, err := saveAs(ctx, s, "team/web", ends)
	if err == nil {
		fmt.Println(late.Digest())
	}
	return err
}

// saveLacking saves into a store that seemed to have the layers and has not:
// another process removed them meanwhile. The library's error must tell that
// blobs are wanted after all.
func saveLacking(ctx context.Context, s *Store, ends []rootfs.Layer) (err error) {
	dir, err := os.MkdirTemp("", "oci-lacking")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	img, err := phasedImage(ctx, s, ends)
	if err != nil {
		return err
	}
	t, err := ParseTarget("containers-storage:[overlay@" + dir + "/graph+" + dir + "/run]team/web")
	if err != nil {
		return err
	}
	st, ref, err := openLocal(t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLocal(st)) }()
	if err := img.copyTo(ctx, ref, nil); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("copying an image without its blobs: %v", err)
	}
	return img.copyTo(ctx, ref, img.blobs)
}

func phasedImage(ctx context.Context, s *Store, ends []rootfs.Layer) (*Image, error) {
	return s.Image(ctx, ends[len(ends)-1], ImageConfig{Phases: phases(ends...)})
}

func saveAs(ctx context.Context, s *Store, target string, ends []rootfs.Layer) (*Image, error) {
	img, err := phasedImage(ctx, s, ends)
	if err != nil {
		return nil, err
	}
	_, err = img.Push(ctx, target, PushOptions{})
	return img, err
}
