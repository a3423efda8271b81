package convert

import (
	"strings"
	"testing"
)

func TestACLText(t *testing.T) {
	const head = "\x02\x00\x00\x00"
	entry := func(tag, perm byte, id string) string { return string([]byte{tag, 0, perm, 0}) + id }
	const none = "\xff\xff\xff\xff"
	whole := head + entry(1, 7, none) + entry(2, 6, "\x4d\x00\x00\x00") + entry(4, 5, none) +
		entry(8, 1, "\xff\xff\xff\xfe") + entry(0x10, 4, none) + entry(0x20, 0, none)
	got, err := aclText([]byte(whole))
	want := "user::rwx,user:77:rw-,group::r-x,group:4278190079:--x,mask::r--,other::---"
	if err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, bad := range []string{"", "\x01\x00\x00\x00", head + "x", head + entry(3, 0, none), whole[:len(whole)-1]} {
		if got, err := aclText([]byte(bad)); err == nil {
			t.Errorf("%q gives %q", bad, got)
		}
	}
}

func FuzzACLText(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x02\x00\x06\x00\x4d\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, value []byte) {
		if text, err := aclText(value); err == nil && strings.Count(text, ":") != 2*((len(value)-4)/8) {
			t.Errorf("%q gives %q", value, text)
		}
	})
}
