Feature: Data Flow And Control

  # Tests that the context is seen by later tasks
  Scenario: Export
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: export
      version: '1.0.0'
    do:
      - one:
          set:
            a: 1
          export:
            as: '{ sum: .a }'
      - two:
          set:
            b: 2
          export:
            as: '$context + { sum: ($context.sum + .b) }'
      - three:
          set:
            sum: ${ $context.sum }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    sum: 3
    """

  # Tests that a task that is passed over gives on its input and goes to the next
  Scenario: If
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: if
      version: '1.0.0'
    do:
      - first:
          if: .go
          set:
            never: true
          then: end
      - second:
          set:
            word: ${ .word }
    """
    And given the workflow input is:
    """yaml
    go: false
    word: a
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    word: a
    """
    And first should cancel

  Scenario: Input That Does Not Fit
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: schema
      version: '1.0.0'
    input:
      schema:
        format: json
        document:
          type: object
          required: [ word ]
    do:
      - say:
          set:
            word: ${ .word }
    """
    And given the workflow input is:
    """yaml
    other: a
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/validation
    status: 400
    """

  Scenario: Input And Output Of The Workflow
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: whole
      version: '1.0.0'
    input:
      from: .word
    output:
      as: '{ said: .word, from: $workflow.input.word, name: $workflow.definition.document.name }'
    do:
      - say:
          set:
            word: ${ . + "!" }
    """
    And given the workflow input is:
    """yaml
    word: a
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    said: a!
    from: a
    name: whole
    """

  # Tests a variable for the index, a condition, and leaving out of the rest
  Scenario: Loop While
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: while
      version: '1.0.0'
    do:
      - loop:
          for:
            each: n
            in: '[ 1, 2, 3, 4 ]'
            at: i
          while: '(.sum // 0) < 3'
          do:
            - add:
                set:
                  sum: '${ (.sum // 0) + $n }'
                  last: ${ $i }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    sum: 3
    last: 1
    """

  # Tests that exit leaves the list, and end the workflow
  Scenario: Exit
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: exit
      version: '1.0.0'
    do:
      - outer:
          do:
            - inner:
                set:
                  word: a
                then: exit
            - never:
                set:
                  word: b
      - after:
          do:
            - stop:
                set:
                  word: ${ .word + "c" }
                then: end
      - neither:
          set:
            word: d
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    word: ac
    """
    And never should cancel
    And neither should cancel

  # Tests that a task may run again, and the run is resumed in the middle of it
  Scenario: Going Back
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: back
      version: '1.0.0'
    do:
      - count:
          set:
            n: '${ (.n // 0) + 1 }'
      - pause:
          wait: { milliseconds: 100 }
      - again:
          switch:
            - less:
                when: .n < 3
                then: count
            - enough:
                then: end
    """
    When the workflow is started
    And the run comes to pause
    And the run is interrupted and resumed
    Then the workflow should complete with output:
    """yaml
    n: 3
    """

  # Tests that what a case says counts, not what the task says
  Scenario: Case That Goes On
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: case
      version: '1.0.0'
    do:
      - choose:
          switch:
            - on:
                when: .go
                then: continue
          then: end
      - after:
          set:
            word: a
    """
    And given the workflow input is:
    """yaml
    go: true
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    word: a
    """

  Scenario: Reusable Error
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: raise
      version: '1.0.0'
    use:
      errors:
        teapot:
          type: https://example.com/errors/teapot
          status: 418
          title: ${ "Tea" + "pot" }
          detail: ${ .why }
    do:
      - refuse:
          raise:
            error: teapot
    """
    And given the workflow input is:
    """yaml
    why: short and stout
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://example.com/errors/teapot
    status: 418
    title: Teapot
    detail: short and stout
    instance: /do/0/refuse
    """

  Scenario: Expression That Fails
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: expression
      version: '1.0.0'
    do:
      - say:
          set:
            word: ${ error("no") }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/expression
    status: 400
    instance: /do/0/say
    """

  # Tests that iterations that were done are not done again
  Scenario: Loop That Is Interrupted
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: loop
      version: '1.0.0'
    do:
      - loop:
          for:
            in: '[ 1, 2, 3 ]'
          do:
            - ask:
                call: http
                with:
                  method: post
                  endpoint: https://httpbin.org/flaky/loop/0
            - pause:
                wait: { milliseconds: 100 }
    """
    When the workflow is started
    And the run comes to pause
    And the run is interrupted and resumed
    Then the workflow should complete with output:
    """yaml
    attempt: 3
    """
    And the service should have been asked 3 times at /flaky/loop/0
