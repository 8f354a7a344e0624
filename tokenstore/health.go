package tokenstore

import (
	"fmt"
	"strings"

	"go.uber.org/zap"
)

// Health returns the health of the backend's storage.
func (s *Store) Health() Health { return s.backend.Health() }

// logRepairs logs repairs made since the last call and adds them to the audit log.
func (s *Store) logRepairs() {
	health := s.backend.Health()
	s.damaged.Store(int64(health.Damaged))
	repairs := health.Repairs
	for _, r := range repairs[min(s.repairs, len(repairs)):] {
		lost := make([]string, 0, len(r.Lost))
		for _, l := range r.Lost {
			lost = append(lost, l.Bucket+": "+l.What)
		}
		s.logger.Error("the token store was damaged and has been rebuilt; the damaged file is kept",
			zap.Strings("faults", r.Faults), zap.Strings("lost", lost), zap.String("kept", r.Kept))
		entry := AuditEntry{Time: s.Now(), Actor: "mollygate", Action: "repair",
			Changes: map[string]string{"lost": summary(lost)}}
		if err := s.setTimes(State{}, &entry); err != nil {
			s.logger.Warn("the audit log is missing an entry about a repair", zap.Error(err))
		}
	}
	s.repairs = len(repairs)
}

// summary returns a list of lost records for the audit log, truncated to a bounded length.
func summary(lost []string) string {
	const most = 20
	switch {
	case len(lost) == 0:
		return "nothing"
	case len(lost) > most:
		return strings.Join(lost[:most], "; ") + fmt.Sprintf("; and %d more", len(lost)-most)
	}
	return strings.Join(lost, "; ")
}
