package admin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	pieceBytes   = 1 << 20
	snapshotTime = 10 * time.Minute // for a snapshot to be written
)

// Backup writes a snapshot of everything that was answered before into a file. An existing file is replaced once the new one is
// complete and verified.
func (c *Cluster) Backup(ctx context.Context, path string, verify func(path string) error) (err error) {
	client := c.client(c.Addresses[0], snapshotTime)
	defer client.Close()
	conn := client.Conn() // the server keeps the snapshot open for the connection
	defer conn.Close()
	begun, err := conn.Do(ctx, "BACKUP", "BEGIN").Int64Slice()
	if err != nil {
		return fmt.Errorf("%s: %w", c.Addresses[0], err)
	}
	index, size := begun[0], begun[1]
	temp := path + ".part"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temp) // nothing, once it is renamed
	for at := int64(0); at < size; {
		piece, err := conn.Do(ctx, "BACKUP", "READ", at, strconv.Itoa(pieceBytes)).Text()
		if err == nil && piece == "" {
			err = errors.New("the snapshot ends early")
		}
		if err == nil {
			_, err = f.WriteString(piece)
		}
		if err != nil {
			f.Close()
			return err
		}
		at += int64(len(piece))
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := verify(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	if d, err := os.Open(filepath.Dir(path)); err == nil { // the name is to survive a crash
		d.Sync()
		d.Close()
	}
	c.say("%s: the state at entry %d, %d bytes, verified", path, index, size)
	return nil
}
