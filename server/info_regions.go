package server

import "fmt"

// isRegion reports whether the cluster is a region.
func (srv *Server) isRegion() bool {
	_, ok := regionSource{srv, srv.replicas[0]}.setup()
	return ok
}

func infoRegions(srv *Server, p *infoPrinter) {
	f, ok := regionSource{srv, srv.replicas[0]}.figures()
	if !ok { // a snapshot has taken the place of the keyspace since
		return
	}
	p.line("region", f.name())
	p.line("region_incarnations", len(f.Origins))
	p.line("region_incarnations_lost", f.lost())
	p.line("region_tombstones", f.Graves)
	p.line("region_late_deadlines", f.Late)
	infoRegionSums(p, f.links)
	for i := range f.links {
		l := &f.links[i]
		offset, within := l.clock()
		p.line("region_link_"+l.Region, fmt.Sprintf("state=%s,behind=%d,keys=%d,age_ms=%d,rtt_us=%d,frames=%d,sketch_frames=%d,rows=%d,whole_parts=%d,whole_parts_under_way=%d,parts_to_tell_whole=%d,gaps=%d,digests=%d,digest_mismatches=%d,bytes=%d,clock_ms=%s,clock_within_ms=%s",
			l.State, l.Positions, l.Keys, l.age, l.RTT.Microseconds(), l.Frames, l.Sketches, l.Rows, l.Whole, l.Telling, l.Full, l.Gaps, l.Digests, l.Differ, l.Bytes, offset, within))
	}
}

// infoRegionSums has what all links come to: of lag the worst, of what was sent the sum. A lag that is unknown is left out; how many are
// known is beside it.
func infoRegionSums(p *infoPrinter, list []peerLag) {
	var behind, keys, age, known, rows, frames, whole, gaps, digests, differ int64
	for i := range list {
		l := &list[i]
		if l.Known {
			known++
			behind, keys, age = max(behind, l.Positions), max(keys, l.Keys), max(age, l.age)
		}
		rows, frames, whole, gaps = rows+l.Rows, frames+l.Frames, whole+l.Whole, gaps+l.Gaps
		digests, differ = digests+l.Digests, differ+l.Differ
	}
	p.line("region_links", len(list))
	p.line("region_links_known", known)
	p.line("region_behind_max", behind)
	p.line("region_keys_behind_max", keys)
	p.line("region_age_ms_max", age)
	p.line("region_frames", frames)
	p.line("region_rows", rows)
	p.line("region_whole_parts", whole)
	p.line("region_gaps", gaps)
	p.line("region_digests", digests)
	p.line("region_digest_mismatches", differ)
}
