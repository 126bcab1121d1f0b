/*
 * What a domain's XML says about it. Only domains with Yagura's metadata are ours:
 *
 *   <metadata>
 *     <yagura:vm xmlns:yagura="https://yagura.dev/domain/1" namespace="default" name="web-3">
 *       <yagura:label key="app" value="web"/>
 *       <yagura:channel type="hvsock" path="/run/yagura/hvsock/web-3.sock" port="997"/>
 *     </yagura:vm>
 *   </metadata>
 *
 * Without `name` the domain's own name is taken, without `namespace` "default". Without a channel element
 * the channel is the CID of the domain's <vsock>.
 */
#pragma once

#include "agent/inventory/inventory.h"

enum ygr_machine { YGR_MACHINE_OTHER, YGR_MACHINE_PC, YGR_MACHINE_Q35 };

struct ygr_domain {
	enum ygr_machine machine;
	bool shared_file; /* memory is backed by a memfd or file that is mapped shared */
	bool plain; /* no NUMA cells, DIMMs or command line of its own: the machine's layout rule holds */
	uint64_t memory; /* bytes */
};

/*
 * Fills VM (uuid, names, labels, channel, memory kind, vcpus) and *ret_domain from XML. Returns 1 for a
 * domain of ours, 0 for one without the metadata, -EINVAL with a sentence when the metadata is wrong,
 * -ENOMEM.
 */
int ygr_domain_parse(const char *xml, struct ygr_vm *vm, struct ygr_domain *ret_domain,
		     struct ygr_error *error);

/*
 * The element <interface> of XML with this MAC as it is, but for its link, which is up or down: what libvirt takes to
 * change it. malloc'ed; NULL when there is none or without memory.
 */
char *ygr_domain_link_xml(const char *xml, const char *mac, bool up);
