package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxDuration is the longest time that may be given: 100 years.
const maxDuration = 36_500 * 24 * time.Hour

var durationUnits = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}

// parseDuration reads a time such as 400d.
func parseDuration(text string) (time.Duration, error) {
	if n := len(text) - 1; n > 0 {
		number, err := strconv.ParseUint(text[:n], 10, 32)
		unit := durationUnits[text[n]]
		if err == nil && unit > 0 && number > 0 && number <= uint64(maxDuration/unit) {
			return time.Duration(number) * unit, nil
		}
	}
	return 0, fmt.Errorf("%q is not a time such as 30s, 15m, 12h or 400d, at most 36500d", text)
}

// formatDuration is parseDuration the other way round.
func formatDuration(d time.Duration) string {
	for _, unit := range []byte("dhm") {
		if d%durationUnits[unit] == 0 {
			return strconv.FormatInt(int64(d/durationUnits[unit]), 10) + string(unit)
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// checkAddress refuses what is not host:port. An address to listen at needs no host.
func checkAddress(text string, listen bool) error {
	host, port, err := net.SplitHostPort(text)
	n, numberErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numberErr != nil || n == 0 || host == "" && !listen || strings.ContainsAny(host, "/@,") {
		return fmt.Errorf("%q is not an address such as 127.0.0.1:6379", text)
	}
	return nil
}

func checkAddresses(list []string) error {
	for i, text := range list {
		if err := checkAddress(text, false); err != nil {
			return err
		}
		if slices.Contains(list[:i], text) {
			return fmt.Errorf("%s is given twice", text)
		}
	}
	return nil
}

// validName reports whether a name has 1 to MaxName bytes, all of them letters, digits, - _ . or among more.
func validName(name, more string) bool {
	if name == "" || len(name) > MaxName {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_."+more, c) >= 0:
		default:
			return false
		}
	}
	return true
}

// readSecret reads where a password is. The error does not repeat the argument: it may be the password itself.
func readSecret(to *Secret, args []string) error {
	if len(args) == 1 && isSecret(args[0]) {
		*to = Secret(args[0])
		return nil
	}
	return errors.New("a password does not stand in this file: write password env:NAME or password file:PATH")
}

// parsePartitions reads numbers and ranges such as 0-3,7.
func parsePartitions(text string) ([]int32, error) {
	var list []int32
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.ParseUint(from, 10, 31)
		b, errB := strconv.ParseUint(to, 10, 31)
		if errA != nil || errB != nil || a > b {
			return nil, fmt.Errorf("%q are not partitions such as 0-3,7", text)
		}
		if b-a >= maxPartitions || len(list)+int(b-a) >= maxPartitions {
			return nil, fmt.Errorf("%q are more than %d partitions", text, maxPartitions)
		}
		for n := a; n <= b; n++ {
			list = append(list, int32(n))
		}
	}
	slices.Sort(list)
	if len(slices.Compact(slices.Clone(list))) < len(list) {
		return nil, fmt.Errorf("%q names a partition twice", text)
	}
	return list, nil
}

// formatPartitions is parsePartitions the other way round.
func formatPartitions(list []int32) string {
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if j == i {
			parts = append(parts, fmt.Sprint(list[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// parseColumns reads the names of columns, separated by commas.
func parseColumns(text string) ([]string, error) {
	list := strings.Split(text, ",")
	for i, name := range list {
		list[i] = strings.TrimSpace(name)
		if list[i] == "" {
			return nil, errors.New("the name of a column is empty; columns are separated by commas, as in columns post_id,user_id")
		}
		if slices.Contains(list[:i], list[i]) {
			return nil, fmt.Errorf("two columns are named %q", list[i])
		}
	}
	return list, nil
}
