package boottest

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// serve is a guest's ssh server, as small as it can be: one key, commands by sh.
func serve(t *testing.T, allowed ssh.PublicKey) int {
	t.Helper()
	host, _, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "devuser" || !bytes.Equal(key.Marshal(), allowed.Marshal()) {
			return nil, ssh.ErrNoAuth
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveOne(conn, config)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func serveOne(conn net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				var command struct{ Line string }
				_ = ssh.Unmarshal(r.Payload, &command)
				_ = r.Reply(true, nil)
				cmd := exec.Command("sh", "-c", command.Line)
				cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
				_ = cmd.Run()
				_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(cmd.ProcessState.ExitCode())}))
				_ = channel.Close()
			}
		}()
	}
}

func TestSSH(t *testing.T) {
	key, line, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	vm := &VM{port: serve(t, public), exited: make(chan struct{}), console: newConsole()}
	shell, err := vm.SSH(ctx, "devuser", key, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	got, err := shell.Run(ctx, "echo out; echo err >&2; exit 7", time.Minute)
	if want := (Result{"out\n", "err\n", 7}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := shell.Output(ctx, "echo no >&2; exit 1", time.Minute); err == nil || !strings.Contains(err.Error(), "exit code 1: no") {
		t.Errorf("Output: %v", err)
	}
	if _, err := shell.Run(ctx, "sleep 30", 100*time.Millisecond); err == nil {
		t.Error("no limit of time")
	}
	other, _, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vm.SSH(ctx, "devuser", other, time.Second); err == nil {
		t.Error("a wrong key logs in")
	}
}
