from __future__ import annotations
import pytest
from hypothesis import Phase, given, settings, HealthCheck, event, strategies as st
from worlds import histories, times
from agreement import *
from agreement import turning_points, system_times, agree, tell, Ask

@given(history=histories(), data=st.data())
@settings(max_examples=150, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck), report_multiple_bugs=False, phases=[Phase.explicit, Phase.generate])
def test_x(new_ledger, history, data):
    both = tell(new_ledger, history)
    agree(both, *data.draw(asks(both.audit)))

@st.composite
def asks(draw, audit):
    found=[]
    for _ in range(2):
        at = draw(st.one_of(st.none(), times(), *( [st.sampled_from(turning_points(audit))] if audit.events else [])))
        known = draw(st.one_of(st.none(), st.integers(0,len(audit.events)), st.sampled_from(system_times(audit))))
        names = sorted({n for p in audit.periods for n in p.model.property_names} | {n for p in audit.periods for e in p.model.event_types.values() for m in e.moves for r in (m.source, m.destination) for n in p.model.account_types[r.account_type].properties})
        traced = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(["a","k","extra","a'b ü"]), max_size=2)) if names else {}
        found.append(Ask(at, known, traced, draw(st.integers(1,3))))
    return found
