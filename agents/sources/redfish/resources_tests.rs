use super::super::payload;
use super::*;

fn chassis(text: &str) -> Chassis {
    Chassis::parse("/redfish/v1/Chassis/1", Document::parse(text).expect("JSON"))
}

fn system(text: &str) -> System {
    System::parse("/redfish/v1/Systems/1", Document::parse(text).expect("JSON"))
}

#[test]
fn a_dell_chassis_tells_who_it_is() {
    let Some(text) = payload("telegraf-dell_chassis.json") else { return };
    let dell = chassis(&text);
    assert_eq!(dell.kind, Kind::Machine);
    assert_eq!(dell.serial.as_deref(), Some("CNIVC007CV0803"));
    assert_eq!(dell.vendor.as_deref(), Some("Dell Inc."));
    assert_eq!(dell.model.as_deref(), Some("PowerEdge R640"));
    assert_eq!(dell.on, Some(true));
    assert_eq!((dell.rack, dell.row), (None, None), "its places are empty");
    assert_eq!(dell.systems, ["/redfish/v1/Systems/System.Embedded.1"]);
    assert_eq!(dell.power.as_deref(), Some("/redfish/v1/Chassis/System.Embedded.1/Power"));
    assert_eq!((dell.environment, dell.power_subsystem), (None, None));
}

#[test]
fn an_hpe_chassis_leads_to_its_supplies() {
    let Some(text) = payload("telegraf-hp_chassis_subsys.json") else { return };
    let hpe = chassis(&text);
    assert_eq!(hpe.serial.as_deref(), Some("QWEVC007C99803"));
    assert_eq!(hpe.power_subsystem.as_deref(), Some("/redfish/v1/Chassis/1/PowerSubsystem"));
    assert!(hpe.has_own_supplies());
    assert_eq!((hpe.power, hpe.environment), (None, None));
}

#[test]
fn the_place_is_read_from_both_ways_of_telling_it() {
    let placed = chassis(r#"{"Location": {"Placement": {"Rack": "R12", "Row": "North", "RackOffset": 7}}}"#);
    assert_eq!((placed.rack.as_deref(), placed.row.as_deref()), (Some("R12"), Some("North")));
    let told = chassis(
        r#"{"Location": {"Info": "Oslo;R1;C;R13;4", "InfoFormat": "DataCenter;RoomName;Aisle;RackName;RackSlot",
            "Placement": {"Rack": "", "Row": ""}}}"#,
    );
    assert_eq!((told.rack.as_deref(), told.row.as_deref()), (Some("R13"), Some("C")));
}

#[test]
fn what_nobody_programmed_is_no_identity() {
    let real = system(
        r#"{"UUID": "4C4C4544-0051-4E10-8058-C4C04F4E4D32", "SerialNumber": " 7M2QN92 ", "PowerState": "PoweringOn",
            "Links": {"Chassis": [{"@odata.id": "/redfish/v1/Chassis/1"}]}}"#,
    );
    assert_eq!(real.uuid.as_deref(), Some("4c4c4544-0051-4e10-8058-c4c04f4e4d32"));
    assert_eq!(real.serial.as_deref(), Some("7M2QN92"));
    assert_eq!(real.on, None, "neither on nor off");
    assert_eq!(real.chassis, ["/redfish/v1/Chassis/1"]);
    for uuid in [
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
        "not a uuid",
        "4C4C4544-0051-4E10-8058",
    ] {
        assert_eq!(system(&format!("{{\"UUID\": {uuid:?}}}")).uuid, None, "{uuid}");
    }
    for serial in ["", "N/A", "To Be Filled By O.E.M.", "Default string", "0000000000", "System Serial Number", "a\\nb"]
    {
        assert_eq!(system(&format!("{{\"SerialNumber\": \"{serial}\"}}")).serial, None, "{serial}");
    }
    assert_eq!(system(r#"{"SerialNumber": 7}"#).serial, None);
}

#[test]
fn a_sled_shares_its_enclosure_and_nobody_owns_a_rack() {
    let of = |kind: &str| chassis(&format!("{{\"ChassisType\": {kind:?}}}"));
    for (inner, outer, around) in [
        ("Sled", "Enclosure", Around::Shared),
        ("Blade", "Other", Around::Shared),
        ("RackMount", "Enclosure", Around::Shared),
        ("RackMount", "Rack", Around::Room),
        ("Sled", "Rack", Around::Room),
        ("Module", "RackMount", Around::Same),
        ("Component", "StandAlone", Around::Same),
    ] {
        assert_eq!(of(inner).around(&of(outer)), around, "{inner} in {outer}");
    }
    let two = chassis(r#"{"Links": {"ComputerSystems": [{"@odata.id": "/a"}, {"@odata.id": "/b"}]}}"#);
    assert_eq!(of("Module").around(&two), Around::Shared, "two systems are in it");
    assert!(!of("Sled").has_own_supplies() && of("RackMount").has_own_supplies());
    assert_eq!(chassis(r#"{"SerialNumber": "ABC 1/2"}"#).enclosure_name().as_deref(), Some("enclosure-ABC-1-2"));
    assert_eq!(chassis("{}").enclosure_name(), None);
}

#[test]
fn labels_are_the_systems_else_the_chassis() {
    let chassis = chassis(
        r#"{"SerialNumber": "C1", "Model": "R640", "PowerState": "On",
        "Location": {"Placement": {"Rack": "R12"}}}"#,
    );
    let system = system(r#"{"SerialNumber": "S1", "PowerState": "Off"}"#);
    let told = labels(Some(&system), Some(&chassis));
    let expected = [("hw.model", "R640"), ("hw.power", "off"), ("hw.serial", "S1"), ("rack", "R12")];
    assert!(told.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(expected), "{told:?}");
}
