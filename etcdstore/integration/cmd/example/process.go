//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is a process that is started again when it has ended.
type process struct {
	name    string
	command []string
	env     []string
	log     string

	mu      sync.Mutex
	stopped bool
	running *exec.Cmd
	ended   chan struct{} // closed when the running command has ended
}

// start starts the process. It isn't in the terminal's group of processes, so that Ctrl-C
// reaches only the example, which then ends all processes in order.
func (p *process) start(restart time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return nil
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	defer func() { _ = log.Close() }()
	command := exec.CommandContext(context.Background(), p.command[0], p.command[1:]...) //nolint:gosec // our own
	command.Dir, command.Env = filepath.Dir(p.log), append(os.Environ(), p.env...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = attributes()
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.running, p.ended = command, ended
	go func() {
		_ = command.Wait()
		close(ended)
		p.again(command, restart)
	}()
	return nil
}

// again starts the process again after a while, unless the example ends.
func (p *process) again(was *exec.Cmd, restart time.Duration) {
	if p.isStopped() {
		return
	}
	fmt.Printf("\n%s (process %d) has ended. It starts again in %v.\n", p.name, was.Process.Pid, restart)
	time.Sleep(restart)
	if err := p.start(restart); err != nil {
		fmt.Println(err)
		return
	}
	if pid := p.pid(); pid != 0 && !p.isStopped() {
		fmt.Printf("%s runs again as process %d.\n", p.name, pid)
	}
}

func (p *process) isStopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return 0
	}
	return p.running.Process.Pid
}

// stopTimeout is how long a process may take to end.
const stopTimeout = 10 * time.Second

// stop ends the process permanently.
func (p *process) stop() {
	p.mu.Lock()
	p.stopped = true
	command, ended := p.running, p.ended
	p.mu.Unlock()
	if command == nil {
		return
	}
	select {
	case <-ended:
		return
	default:
	}
	if err := command.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return
	}
	select {
	case <-ended:
	case <-time.After(stopTimeout):
		_ = command.Process.Kill() // fails if it has ended meanwhile
		<-ended
	}
}
