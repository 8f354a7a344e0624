package tokenstore

import (
	"fmt"
	"strings"

	"go.uber.org/zap"
)

// Health returns the condition of the place where the tokens are kept.
func (s *Store) Health() Health { return s.backend.Health() }

// logRepairs logs damage that was found and repaired since the last call, and adds it to
// the audit.
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
			s.logger.Warn("the audit lacks an entry about a repair", zap.Error(err))
		}
	}
	s.repairs = len(repairs)
}

// summary returns a text for the audit.
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
