package engine

import "sync"

// FlushDB removes all keys of the transaction's database.
func (t Txn) FlushDB() { t.flush(false) }

func (t Txn) flush(more bool) {
	for part := range Parts {
		t.lock(part)
		t.ks.detach(part, int(t.db))
		t.unlock(part)
	}
	t.tellFlushed(more)
}

// FlushAll removes all keys of all databases.
func (t Txn) FlushAll() {
	for db := range t.ks.databases {
		t.WithDB(db).flush(db < t.ks.databases-1)
	}
}

// detach takes a shard out of the keyspace and leaves its memory to the janitor.
// The part is locked.
func (ks *Keyspace) detach(part, db int) {
	sh := ks.shardPointer(part, db).Swap(nil)
	if sh == nil {
		return
	}
	ks.parts[part].moved++
	ks.liveBytes.Add(sh.liveStep - sh.live)
	ks.deadBytes.Add(sh.deadStep - sh.dead)
	sh.forgetLengths()
	sh.live, sh.liveStep, sh.dead, sh.deadStep = 0, 0, 0, 0
	ks.refreshDue(part)
	ks.janitor.add(sh)
}

// janitor gives the memory of detached shards back in the background. Its
// goroutine lives only while there is work.
type janitor struct {
	mu      sync.Mutex
	queue   []*shard
	running bool
	idle    sync.Cond // signalled when running becomes false; its lock is mu
}

func (j *janitor) add(sh *shard) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queue = append(j.queue, sh)
	if !j.running {
		j.running = true
		go j.run()
	}
}

func (j *janitor) run() {
	for {
		j.mu.Lock()
		if len(j.queue) == 0 {
			j.queue, j.running = nil, false
			j.idle.Broadcast()
			j.mu.Unlock()
			return
		}
		sh := j.queue[len(j.queue)-1]
		j.queue = j.queue[:len(j.queue)-1]
		j.mu.Unlock()
		sh.destroy()
	}
}

// wait returns when there is nothing left to give back.
func (j *janitor) wait() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.running {
		j.idle.Wait()
	}
}

// destroyChunks is how many chunks are given back while the part is locked once.
const destroyChunks = 64

// destroy gives back the memory of a detached shard. Only a snapshot's writer
// still knows the shard, and only under the part's lock.
func (sh *shard) destroy() {
	for ci := 1; ci < len(sh.meta); {
		sh.ks.LockPart(sh.part)
		for range destroyChunks {
			if ci == len(sh.meta) {
				break
			}
			if c := &sh.meta[ci]; sh.base[ci] != nil {
				if c.own {
					sh.ks.wideBytes.Add(-int64(c.live))
				}
				sh.dropChunk(uint32(ci))
			}
			ci++
		}
		sh.ks.UnlockPart(sh.part)
	}
	var last *table
	for _, t := range sh.dir {
		if t != last {
			sh.freeTable(t)
		}
		last = t
	}
	sh.dir = nil
}
