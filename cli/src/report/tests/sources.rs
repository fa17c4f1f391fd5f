//! Reports on profiles of several sources: sampled sites, windows, types with their holders.

use leakline_core::{Holder, ProfileSource};

use super::*;

fn stat(site: Arc<Site>, bytes: u64, blocks: u64, standard_error_bytes: u64) -> SiteStat {
    SiteStat { standard_error_bytes, ..SiteStat::exact(site, Amount { bytes, blocks }) }
}

/// Four ticks: sampled sites at each, a census at the first and the last, a window of the exact hook at the last two.
fn recorded() -> Vec<u8> {
    let mut encoder = Encoder::new(&session());
    let mut bytes = recording::header().to_vec();
    for tick in 0..4_u64 {
        let mut snapshot = snapshot(tick);
        let sampled = ProfileSource::sampled(ProfileSource::SAMPLED, 65_536);
        let sites = vec![stat(leaking_site(), 1_000_000 + tick * 6_950_000, 20 + tick * 412, 300_000)];
        let mut profiles = vec![Arc::new(Profile::new(sampled, sites))];
        if tick >= 2 {
            let exact = ProfileSource::exact(ProfileSource::EXACT).in_epoch(1);
            let sites = vec![stat(leaking_site(), (tick - 2) * 6_900_000, (tick - 2) * 400, 0)];
            profiles.push(Arc::new(Profile::new(exact, sites)));
        }
        if tick == 0 || tick == 3 {
            let packets = stat(Arc::new(Site::class("RNS.Packet")), 1000 + tick * 8_000, 10 + tick * 137, 0);
            let steady = stat(Arc::new(Site::class("dict")), 5000, 50, 0);
            let types = ProfileSource::exact(ProfileSource::TYPES);
            profiles.push(Arc::new(Profile::new(types, vec![packets, steady])));
            snapshot.readings[0].holders = [("cell", 3), ("list RNS.Transport.pending_inbound", 412)]
                .map(|(holder, count)| Holder { of: "RNS.Packet".into(), holder: holder.to_owned(), count })
                .to_vec();
        }
        snapshot.readings[0].profiles = profiles;
        let record = Record::Snapshot { snapshot: Arc::new(snapshot), verdicts: verdicts(tick).into() };
        encoder.record(&record).iter().for_each(|entry| recording::append(entry, &mut bytes));
    }
    bytes
}

#[test]
fn each_source_is_named_and_types_come_with_their_holders() {
    let shown = show(&recorded(), Range::default(), 3, false);
    let from = shown.find("Growth of python").unwrap();
    let to = shown.find("Readings").unwrap();
    expect![[r#"
        Growth of python (sampled every 64 KiB) from 09:00 (snapshot 0) to 09:15 (snapshot 3): +19.9 MiB in +1236 blocks; 1 site grew, 0 shrank
          #1 +19.9 MiB ± 812.1 KiB in +1236 blocks, now 20.8 MiB in 1256 blocks
               RNS/Destination.py:230 receive
               < reticulum_wrapper.py:450 on_packet
               < … cut off here; more frames with `run --frames`

        Growth of python (exact) from 09:10 (snapshot 2) to 09:15 (snapshot 3): +6.6 MiB in +400 blocks; 1 site grew, 0 shrank
          #1 +6.6 MiB in +400 blocks, now 6.6 MiB in 400 blocks
               RNS/Destination.py:230 receive
               < reticulum_wrapper.py:450 on_packet
               < … cut off here; more frames with `run --frames`

        Growth of python by type from 09:00 (snapshot 0) to 09:15 (snapshot 3)
          +411 RNS.Packet (+23.4 KiB), now 421 in 24.4 KiB
               held by list RNS.Transport.pending_inbound (+412 since the census before)
               held by cell (+3 since the census before)

    "#]].assert_eq(&shown[from..to]);
    let here = shown.lines().find(|line| line.contains("of it here")).unwrap();
    expect!["               96 % of it here, +19.9 MiB ± 812.1 KiB in +1236 blocks, +1.3 MiB/min:"]
        .assert_eq(here);
}

#[test]
fn the_json_has_them_too() {
    let value: serde_json::Value =
        serde_json::from_str(&show(&recorded(), Range::default(), 3, true)).unwrap();
    expect![[r#"
        [
          {
            "from_snapshot": 0,
            "layer": "python",
            "probe": "python",
            "to_snapshot": 3,
            "types": [
              {
                "grown_bytes": 24000,
                "grown_objects": 411,
                "holders": [
                  {
                    "count": 412,
                    "holder": "list RNS.Transport.pending_inbound"
                  },
                  {
                    "count": 3,
                    "holder": "cell"
                  }
                ],
                "kept_bytes": null,
                "kept_objects": null,
                "live_bytes": 25000,
                "live_objects": 421,
                "type": "RNS.Packet"
              }
            ]
          }
        ]"#]]
    .assert_eq(&format!("{:#}", value["types"]));
    let growth = &value["growth"];
    let told: Vec<String> = growth
        .as_array()
        .unwrap()
        .iter()
        .map(|growth| {
            let error = &growth["sites"][0]["grown_standard_error_bytes"];
            format!("{} {} {error}", growth["source"], growth["mean_sample_bytes"])
        })
        .collect();
    expect![[r#"
        "sampled" 65536 424264
        "exact" null 0"#]]
    .assert_eq(&told.join("\n"));
}
