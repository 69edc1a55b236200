Feature: Listen Task

  # Tests that only an event that fits is taken, and its data is read
  # Tests that an event from before the task began is not taken
  Scenario: One Event
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-one
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              one:
                with:
                  type: com.example.ordered
    """
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: { number: 0 }
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.paid
    source: /shop
    data: { number: 1 }
    """
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: { number: 2 }
    """
    Then the workflow should complete with output:
    """yaml
    - number: 2
    """

  # Tests that a run that listens goes on listening where it was
  Scenario: One Event Over An Interruption
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-interrupted
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              one:
                with:
                  type: com.example.ordered
    """
    When the workflow is started
    And the run comes to hear
    And the run is interrupted and resumed
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: { number: 2 }
    """
    Then the workflow should complete with output:
    """yaml
    - number: 2
    """

  Scenario: Envelope
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-envelope
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              one:
                with:
                  type: com.example.ordered
            read: envelope
          output:
            as: '.[0] | { type, source, specversion, data, shop }'
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    shop: north
    data: { number: 2 }
    """
    Then the workflow should complete with output:
    """yaml
    type: com.example.ordered
    source: /shop
    specversion: "1.0"
    data: { number: 2 }
    shop: north
    """

  # Tests that an expression decides on the data of an event
  Scenario: Filter By Data
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-filter
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              one:
                with:
                  type: com.example.measured
                  data: ${ .temperature > 38 }
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.measured
    source: /bed
    data: { temperature: 37 }
    """
    And the event is published:
    """yaml
    type: com.example.measured
    source: /bed
    data: { temperature: 39 }
    """
    Then the workflow should complete with output:
    """yaml
    - temperature: 39
    """

  Scenario: Correlation With The Input
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-correlate
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              one:
                with:
                  type: com.example.ordered
                correlate:
                  order:
                    from: .data.order
                    expect: ${ .order }
    """
    And given the workflow input is:
    """yaml
    order: 7
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: { order: 6 }
    """
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: { order: 7, paid: true }
    """
    Then the workflow should complete with output:
    """yaml
    - order: 7
      paid: true
    """

  # Tests that events of one listen task belong together: the first sets what the others must have
  Scenario: Correlation Between Events
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-correlate-events
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              all:
                - with:
                    type: com.example.temperature
                  correlate:
                    room:
                      from: .room
                - with:
                    type: com.example.humidity
                  correlate:
                    room:
                      from: .room
            read: envelope
          output:
            as: '[ .[] | .data.value ]'
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.temperature
    source: /a
    room: kitchen
    data: { value: 20 }
    """
    And the event is published:
    """yaml
    type: com.example.humidity
    source: /b
    room: cellar
    data: { value: 90 }
    """
    And the event is published:
    """yaml
    type: com.example.humidity
    source: /b
    room: kitchen
    data: { value: 50 }
    """
    Then the workflow should complete with output:
    """yaml
    [ 20, 50 ]
    """

  # Tests that all filters are fulfilled, in any order, each by one event
  # Tests that what was heard is kept over an interruption
  Scenario: All Events
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-all
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              all:
                - with:
                    type: com.example.paid
                - with:
                    type: com.example.packed
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.packed
    source: /shop
    data: 1
    """
    And the event is published:
    """yaml
    type: com.example.packed
    source: /shop
    data: 2
    """
    And the run is interrupted and resumed
    And the event is published:
    """yaml
    type: com.example.paid
    source: /shop
    data: 3
    """
    Then the workflow should complete with output:
    """yaml
    [ 1, 3 ]
    """

  Scenario: Any Event
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-any
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              any:
                - with:
                    type: com.example.paid
                - with:
                    type: com.example.cancelled
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.cancelled
    source: /shop
    data: 2
    """
    Then the workflow should complete with output:
    """yaml
    [ 2 ]
    """

  # Tests that a condition is asked of what was consumed so far
  Scenario: Any Event Until A Condition
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-until-condition
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              any: []
              until: ( . | length ) >= 3
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: 1
    """
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: 2
    """
    And the run is interrupted and resumed
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: 3
    """
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: 4
    """
    Then the workflow should complete with output:
    """yaml
    [ 1, 2, 3 ]
    """

  # Tests that the event that ends it is not part of the output
  Scenario: Any Event Until Another
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-until-event
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              any:
                - with:
                    type: com.example.ordered
              until:
                one:
                  with:
                    type: com.example.closed
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: 1
    """
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: 2
    """
    And the event is published:
    """yaml
    type: com.example.closed
    source: /shop
    data: 3
    """
    Then the workflow should complete with output:
    """yaml
    [ 1, 2 ]
    """

  # Tests that tasks are done with each event, and that the output has what came of each
  Scenario: Each Event
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-foreach
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              any:
                - with:
                    type: com.example.ordered
              until: ( . | length ) >= 2
          foreach:
            item: order
            at: i
            do:
              - double:
                  set:
                    number: ${ $order * 2 }
                    at: ${ $i }
            output:
              as: '{ doubled: .number, at }'
            export:
              as: '{ last: .doubled }'
      - tell:
          set:
            orders: ${ . }
            last: ${ $context.last }
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: 4
    """
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: 5
    """
    Then the workflow should complete with output:
    """yaml
    orders:
      - { doubled: 8, at: 0 }
      - { doubled: 10, at: 1 }
    last: 10
    """

  # Tests that a run hears what it emits itself, once
  Scenario: Emit And Listen
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-to-itself
      version: '1.0.0'
    do:
      - both:
          fork:
            branches:
              - hear:
                  listen:
                    to:
                      one:
                        with:
                          type: com.example.own
              - speak:
                  do:
                    - pause:
                        wait: { milliseconds: 50 }
                    - emit:
                        emit:
                          event:
                            with:
                              type: com.example.own
                              source: /self
                              data:
                                said: ${ .word }
          output:
            as: .[0]
    """
    And given the workflow input is:
    """yaml
    word: hello
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - said: hello
    """

  # Tests that an event that is published again is taken once
  Scenario: Event That Comes Twice
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-twice
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              any: []
              until: ( . | length ) >= 2
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    id: 4339f0d9-5128-80e6-9a8a-20affec9c62c
    type: com.example.ordered
    source: /shop
    data: 1
    """
    And the event is published:
    """yaml
    id: 4339f0d9-5128-80e6-9a8a-20affec9c62c
    type: com.example.ordered
    source: /shop
    data: 1
    """
    And the event is published:
    """yaml
    id: 4339f0d9-5128-80e6-9a8a-20affec9c62c
    type: com.example.ordered
    source: /other
    data: 2
    """
    Then the workflow should complete with output:
    """yaml
    [ 1, 2 ]
    """

  # Tests that an event that a filter cannot look into is passed over
  Scenario: Event Of Another Shape
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-shape
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              one:
                with:
                  type: com.example.measured
                  data: ${ .temperature > 38 }
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.measured
    source: /bed
    data: hot
    """
    And the event is published:
    """yaml
    type: com.example.measured
    source: /bed
    data: { temperature: 39 }
    """
    Then the workflow should complete with output:
    """yaml
    - temperature: 39
    """

  # Tests that all events that end it have to come
  Scenario: Any Event Until All Of Others
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: listen-until-all
      version: '1.0.0'
    do:
      - hear:
          listen:
            to:
              any:
                - with:
                    type: com.example.ordered
              until:
                all:
                  - with:
                      type: com.example.closed
                  - with:
                      type: com.example.counted
    """
    When the workflow is started
    And the run comes to hear
    And the event is published:
    """yaml
    type: com.example.closed
    source: /shop
    data: 1
    """
    And the event is published:
    """yaml
    type: com.example.closed
    source: /shop
    data: 2
    """
    And the event is published:
    """yaml
    type: com.example.ordered
    source: /shop
    data: 3
    """
    And the event is published:
    """yaml
    type: com.example.counted
    source: /shop
    data: 4
    """
    Then the workflow should complete with output:
    """yaml
    [ 3 ]
    """
