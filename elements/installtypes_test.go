package elements

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestLinkInstallTypes(t *testing.T) {
	for _, c := range []struct{ name, env, want string }{
		{"default is source", "", "05-always 20-glance 30-my"},
		{"all by package", "DIB_DEFAULT_INSTALLTYPE=package", "05-always 20-glance-p"},
		{"one by package", "DIB_INSTALLTYPE_glance=package", "05-always 20-glance-p 30-my"},
		{"one by source", "DIB_DEFAULT_INSTALLTYPE=package DIB_INSTALLTYPE_my_thing=source", "05-always 20-glance-p 30-my"},
		{"a type without folder", "DIB_INSTALLTYPE_glance=wheel", "05-always 30-my"},
		{"low lines in the folder", "DIB_INSTALLTYPE_low_line=wheel", "05-always 20-glance 30-my 40-low"},
		{"empty is not given", "DIB_INSTALLTYPE_glance=", "05-always 20-glance 30-my"},
	} {
		e := element(t, "e", map[string]string{
			"install.d/05-always": "#!\n", "install.d/glance-source-install/20-glance": "#!\n", "install.d/glance-package-install/20-glance-p": "#!\n",
			"install.d/my-thing-source-install/30-my": "#!\n", "install.d/my-thing-source-install/.hidden": "#!\n", "install.d/low_line-wheel-install/40-low": "#!\n",
			"install.d/-source-install/99-x": "#!\n", "install.d/sub/x-source-install/99-y": "#!\n",
		})
		env := map[string]string{}
		for _, pair := range strings.Fields(c.env) {
			name, value, _ := strings.Cut(pair, "=")
			env[name] = value
		}
		tree := mustMerge(t, e)
		if err := tree.LinkInstallTypes(env); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := tree.LinkInstallTypes(env); err != nil {
			t.Errorf("%s, again: %v", c.name, err)
		}
		if got := hookNamesOf(tree.Hooks(Install)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if err := tree.WriteTo(filepath.Join(t.TempDir(), "hooks")); err != nil {
			t.Error(err)
		}
	}
}

func TestLinkInstallTypesCollide(t *testing.T) {
	one := element(t, "one", map[string]string{"install.d/20-x": "#!\n"})
	two := element(t, "two", map[string]string{"install.d/two-source-install/20-x": "#!\n"})
	err := mustMerge(t, one, two).LinkInstallTypes(nil)
	c, ok := errors.AsType[*CollisionError](err)
	if !ok || c.First != "one" || c.Second != "two" {
		t.Errorf("got %v", err)
	}
}

func TestBlockDeviceConfig(t *testing.T) {
	none := element(t, "none", map[string]string{"block-device-other.yaml": "o"})
	usual := element(t, "usual", map[string]string{"block-device-default.yaml": "d", "block-device-ppc64el.yaml": "p"})
	second := element(t, "second", map[string]string{"block-device-arm64.yaml": "a"})
	for _, c := range []struct{ arch, element, file, data string }{
		{"amd64", "usual", "block-device-default.yaml", "d"}, {"ppc64le", "usual", "block-device-ppc64el.yaml", "p"}, {"ppc64el", "usual", "block-device-ppc64el.yaml", "p"},
	} {
		element, file, data, err := BlockDeviceConfig([]Element{none, usual, second}, c.arch)
		if err != nil || element != c.element || file != c.file || string(data) != c.data {
			t.Errorf("%s: got %q, %q, %q, %v", c.arch, element, file, data, err)
		}
	}
	if element, file, data, err := BlockDeviceConfig([]Element{none}, "amd64"); element+file != "" || data != nil || err != nil {
		t.Errorf("got %q, %q, %v", element, data, err)
	}
	_, _, _, err := BlockDeviceConfig([]Element{second, usual}, "arm64")
	if e, ok := errors.AsType[*LayoutConflictError](err); !ok || e.First != "second" || e.Second != "usual" || e.FirstFile != "block-device-arm64.yaml" {
		t.Errorf("got %v", err)
	}
}
